//! The way of messages to outboxes: one after the other, so that all subscribers see all messages in one order.
//!
//! A message for a few goes there at once, by whoever sends it. One for many is left to the carrier, a task of its own off the
//! workers, which serves a slice of receivers at a time; whatever is sent meanwhile queues up behind. A sender can wait for its
//! receipt; as connections do, the queue holds no more than a message for each of them and what single commits tell. Commits do not
//! wait for what they tell, but with many on their way the connections behind them do (`overdue`).
//!
//! Locks: one mutex for the queue, held while a slice is put into outboxes; nobody is woken under it.

use super::registry::Members;
use super::{Kind, Message, Name, Rests, Standing};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use tokio::sync::Notify;

/// Receivers served at a time.
const SLICE: usize = 256;

/// With so many messages on their way commits that cause more are held up.
const WAITING_MAX: u64 = 1024;

/// One message and whom it is for.
pub(super) struct Delivery {
    kind: Kind,
    name: Name,
    message: Message,
    rests: Rests,
    members: Members,
    /// So many of the members have it.
    served: usize,
}

/// The place of a message in the order of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt(u64);

#[derive(Default)]
pub(super) struct Post {
    queue: Mutex<Queue>,
    /// Deliveries ever queued, for a look without the lock.
    queued: AtomicU64,
    /// Deliveries that are done, of those that were queued.
    done: AtomicU64,
    progress: Notify,
    call: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Delivery>,
    /// Deliveries ever queued.
    queued: u64,
}

type Wakers = SmallVec<[Waker; 8]>;

impl Delivery {
    pub(super) fn new(kind: Kind, name: Name, message: Message, rests: Rests, members: Members) -> Delivery {
        Delivery { kind, name, message, rests, members, served: 0 }
    }

    /// Serves up to `room` members; how many it were.
    fn serve(&mut self, room: usize, standing: &Standing<'_>, wakers: &mut Wakers) -> usize {
        let rest = self.members.get(self.served..).unwrap_or_default();
        let slice = &rest[..rest.len().min(room)];
        for outbox in slice {
            wakers.extend(outbox.deliver(self.kind, &self.name, &self.message, self.rests, standing));
        }
        self.served += slice.len();
        slice.len()
    }

    fn is_done(&self) -> bool {
        self.served == self.members.len()
    }
}

impl Post {
    /// Sends messages, in this order; a receipt if the carrier has them.
    pub(super) fn send(
        &self,
        mut deliveries: SmallVec<[Delivery; 2]>,
        standing: &Standing<'_>,
    ) -> Option<Receipt> {
        let receivers: usize = deliveries.iter().map(|delivery| delivery.members.len()).sum();
        let mut wakers = Wakers::new();
        let mut queue = self.queue.lock();
        if queue.waiting.is_empty() && receivers <= SLICE {
            for delivery in &mut deliveries {
                delivery.serve(SLICE, standing, &mut wakers);
            }
            drop(queue);
            wakers.into_iter().for_each(Waker::wake);
            return None;
        }
        queue.queued += deliveries.len() as u64;
        queue.waiting.extend(deliveries);
        let receipt = Receipt(queue.queued);
        self.queued.store(queue.queued, Ordering::Relaxed);
        drop(queue);
        self.call.notify_one();
        Some(receipt)
    }

    /// Waits until there is something for the carrier.
    pub(super) async fn called(&self) {
        self.call.notified().await;
    }

    /// Serves one slice of what waits; false when nothing is left.
    pub(super) fn carry_slice(&self, standing: &Standing<'_>) -> bool {
        let mut wakers = Wakers::new();
        let (mut room, mut finished) = (SLICE, 0);
        let mut queue = self.queue.lock();
        while let Some(delivery) = queue.waiting.front_mut() {
            room -= delivery.serve(room, standing, &mut wakers);
            if !delivery.is_done() {
                break;
            }
            queue.waiting.pop_front();
            finished += 1;
        }
        let is_left = !queue.waiting.is_empty();
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
        if finished > 0 {
            self.done.fetch_add(finished, Ordering::AcqRel);
            self.progress.notify_waiters();
        }
        is_left
    }

    /// The receipt of the last message when many are on their way: whoever causes more waits for it.
    pub(super) fn overdue(&self) -> Option<Receipt> {
        let queued = self.queued.load(Ordering::Relaxed);
        let waiting = queued.saturating_sub(self.done.load(Ordering::Relaxed));
        (waiting > WAITING_MAX).then_some(Receipt(queued))
    }

    pub(super) async fn delivered(&self, receipt: Receipt) {
        loop {
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            if self.done.load(Ordering::Acquire) >= receipt.0 {
                return;
            }
            progress.await;
        }
    }
}
