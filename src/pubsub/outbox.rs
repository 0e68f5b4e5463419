//! What a connection is to be sent unasked, and what it has subscribed to.
//!
//! Anybody puts messages in; only the connection's own task takes them out, sends them, and says so (`sent`). What waits and what
//! is being sent counts against the limit; over it, the outbox is cut: emptied for good, and its connection hung up.
//!
//! Locks: one mutex, held for a push or a look; nobody is woken under it but a connection that is cut.

use super::{Kind, Message, Name, Rests};
use crate::base::clock::Clock;
use crate::config::OutputLimit;
use crate::resp::Proto;
use ahash::AHashSet;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

/// A message in an outbox.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it says.
    pub message: Message,
    /// The connection's protocol when it came.
    pub proto: Proto,
    /// What must be safe before it is shown.
    pub rests: Rests,
}

/// What an outbox must keep to.
pub struct Standing<'s> {
    /// How much may wait.
    pub limit: OutputLimit,
    /// For how long.
    pub clock: &'s Clock,
}

/// The messages for one connection.
pub struct Outbox {
    id: u64,
    resp3: AtomicBool,
    counts: [AtomicUsize; 3],
    /// Its connection has gone.
    closed: AtomicBool,
    /// There is something to take.
    waiting: AtomicBool,
    /// Bytes that wait, and bytes that are taken and not sent yet.
    queued_bytes: AtomicUsize,
    taken_bytes: AtomicUsize,
    inner: Mutex<Inner>,
    hang_up: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Inner {
    sets: [AHashSet<Name>; 3],
    queue: VecDeque<Item>,
    over_soft_since_ms: Option<u64>,
    is_cut: bool,
    waker: Option<Waker>,
}

/// A message costs its bytes and its place in the queue.
fn cost(message: &Message) -> usize {
    message.len() + size_of::<Item>()
}

impl Outbox {
    /// The outbox of the connection with this id. `hang_up` ends the connection; it is called at most once, by whoever sends too much.
    pub fn new(id: u64, proto: Proto, hang_up: impl Fn() + Send + Sync + 'static) -> Arc<Outbox> {
        Arc::new(Outbox {
            id,
            resp3: AtomicBool::new(proto == Proto::Resp3),
            counts: Default::default(),
            closed: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            queued_bytes: AtomicUsize::new(0),
            taken_bytes: AtomicUsize::new(0),
            inner: Mutex::default(),
            hang_up: Box::new(hang_up),
        })
    }

    /// The connection has gone: nothing more is put in. True if that is because the outbox was cut.
    pub fn close(&self) -> bool {
        self.closed.store(true, Ordering::Release);
        let mut inner = self.inner.lock();
        inner.queue = VecDeque::new();
        std::mem::replace(&mut inner.is_cut, true)
    }

    /// True when the connection has gone.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The connection's id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The connection speaks this protocol from now on.
    pub fn set_proto(&self, proto: Proto) {
        self.resp3.store(proto == Proto::Resp3, Ordering::Release);
    }

    /// The protocol of what is put in.
    pub fn proto(&self) -> Proto {
        if self.resp3.load(Ordering::Acquire) { Proto::Resp3 } else { Proto::Resp2 }
    }

    /// How many subscriptions of a kind it has.
    pub fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize].load(Ordering::Acquire)
    }

    /// How many subscriptions it has.
    pub fn subscriptions(&self) -> usize {
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }

    /// Whether it has a subscription.
    pub fn has(&self, kind: Kind, name: &[u8]) -> bool {
        self.inner.lock().sets[kind as usize].contains(name)
    }

    /// Its subscriptions of a kind, in no order.
    pub fn names(&self, kind: Kind) -> Vec<Name> {
        self.inner.lock().sets[kind as usize].iter().cloned().collect()
    }

    /// Notes a subscription; false when it is there.
    pub(super) fn insert(&self, kind: Kind, name: &Name) -> bool {
        let mut inner = self.inner.lock();
        let is_new = inner.sets[kind as usize].insert(Arc::clone(name));
        self.counts[kind as usize].store(inner.sets[kind as usize].len(), Ordering::Release);
        is_new
    }

    /// Forgets a subscription; false when there was none.
    pub(super) fn remove(&self, kind: Kind, name: &[u8]) -> bool {
        let mut inner = self.inner.lock();
        let was_there = inner.sets[kind as usize].remove(name);
        self.counts[kind as usize].store(inner.sets[kind as usize].len(), Ordering::Release);
        was_there
    }

    /// Forgets all subscriptions, and tells which they were.
    pub(super) fn take_all(&self) -> Vec<(Kind, Name)> {
        let mut inner = self.inner.lock();
        let mut all = Vec::new();
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            let set = std::mem::take(&mut inner.sets[kind as usize]);
            all.extend(set.into_iter().map(|name| (kind, name)));
            self.counts[kind as usize].store(0, Ordering::Release);
        }
        all
    }

    /// Puts a message in if the subscription still stands. Whom to wake, if the connection waits for messages.
    pub(super) fn deliver(
        &self,
        kind: Kind,
        name: &[u8],
        message: &Message,
        rests: Rests,
        standing: &Standing<'_>,
    ) -> Option<Waker> {
        let mut inner = self.inner.lock();
        if !inner.sets[kind as usize].contains(name) {
            return None;
        }
        self.push(&mut inner, message, rests, standing)
    }

    /// Puts a message in that belongs to no subscription, and wakes the connection.
    pub fn put(&self, message: &Message, rests: Rests, standing: &Standing<'_>) {
        let waker = self.push(&mut self.inner.lock(), message, rests, standing);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn push(
        &self,
        inner: &mut Inner,
        message: &Message,
        rests: Rests,
        standing: &Standing<'_>,
    ) -> Option<Waker> {
        if inner.is_cut {
            return None;
        }
        inner.queue.push_back(Item { message: message.clone(), proto: self.proto(), rests });
        let queued = self.queued_bytes.fetch_add(cost(message), Ordering::Relaxed) + cost(message);
        self.waiting.store(true, Ordering::Release);
        let bytes = (queued + self.taken_bytes.load(Ordering::Relaxed)) as u64;
        if is_over(bytes, inner, standing) {
            self.cut(inner, bytes);
            return None;
        }
        inner.waker.take()
    }

    /// Cuts an outbox that has held too much for too long, even if nothing more is put in.
    pub fn keep_limit(&self, standing: &Standing<'_>) {
        if !self.is_waiting() {
            return;
        }
        let mut inner = self.inner.lock();
        let bytes = self.bytes() as u64;
        if !inner.is_cut && is_over(bytes, &mut inner, standing) {
            self.cut(&mut inner, bytes);
        }
    }

    fn cut(&self, inner: &mut Inner, bytes: u64) {
        inner.is_cut = true;
        inner.queue = VecDeque::new();
        self.queued_bytes.store(0, Ordering::Relaxed);
        self.waiting.store(false, Ordering::Release);
        tracing::warn!(client = self.id, bytes, "closed: it does not read its messages fast enough");
        (self.hang_up)();
    }

    /// True when there is something to take.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Bytes that wait or are being sent.
    pub fn bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed) + self.taken_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the messages that wait to be taken.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        if self.is_waiting() { self.inner.lock().queue.len() } else { 0 }
    }

    /// True when no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the oldest message out if `wants` it.
    pub fn take_if(&self, wants: impl FnOnce(&Item) -> bool) -> Option<Item> {
        let mut inner = self.inner.lock();
        let item = if inner.queue.front().is_some_and(wants) { inner.queue.pop_front() } else { None }?;
        if inner.queue.is_empty() {
            self.waiting.store(false, Ordering::Release);
            if inner.queue.capacity() > 64 {
                inner.queue = VecDeque::new();
            }
        }
        self.queued_bytes.fetch_sub(cost(&item.message), Ordering::Relaxed);
        self.taken_bytes.fetch_add(cost(&item.message), Ordering::Relaxed);
        Some(item)
    }

    /// All that was taken has been sent.
    pub fn sent(&self) {
        self.taken_bytes.store(0, Ordering::Relaxed);
    }

    /// Waits until there is something to take. For the connection's own task.
    pub fn poll_filled(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_waiting() {
            return Poll::Ready(());
        }
        let mut inner = self.inner.lock();
        if !inner.queue.is_empty() {
            return Poll::Ready(());
        }
        if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            inner.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// Whether so many bytes are too many, or have been so for too long.
fn is_over(bytes: u64, inner: &mut Inner, standing: &Standing<'_>) -> bool {
    let OutputLimit { hard_bytes, soft_bytes, soft_seconds } = standing.limit;
    if hard_bytes > 0 && bytes > hard_bytes {
        return true;
    }
    if soft_bytes == 0 || bytes <= soft_bytes {
        inner.over_soft_since_ms = None;
        return false;
    }
    let now_ms = standing.clock.now_ms();
    let since_ms = *inner.over_soft_since_ms.get_or_insert(now_ms);
    now_ms.saturating_sub(since_ms) > soft_seconds.saturating_mul(1000)
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("id", &self.id).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
