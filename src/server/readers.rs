//! The readers: threads that bring the rows of cold commands from the disk, all rows of a burst at once.
//!
//! A worker hands over a burst of rows and goes on with other connections; the readers share the rows out among themselves. With few rows
//! under way each reader takes one, so that a burst costs about one disk latency; with many each takes several, so that handing over
//! costs little. A reader wakes the next one when it leaves rows behind: as many are awake as there is work for. The last to finish
//! a burst wakes its connection.
//!
//! Threads are started when they are needed, up to `pool-threads`. Lock: the queue's mutex, held to hand out rows; a burst's
//! `found`, held to put rows in. Never both.

use crate::dispatch::node::Node;
use crate::keyspace::{ColdRow, Found};
use crate::store::ReadError;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// A reader takes at most so many rows at once.
const TAKEN_MAX: usize = 16;

/// What a burst has found beyond so many bytes it does not keep: it is in the block cache, too.
const FOUND_BYTES_MAX: usize = 1 << 20;

/// The rows of one burst.
pub(super) struct Burst {
    rows: Vec<ColdRow>,
    left: AtomicUsize,
    found_bytes: AtomicUsize,
    found: Mutex<Vec<(usize, Found)>>,
    done: Notify,
}

impl Burst {
    /// Waits until all rows have been read, and gives what was found.
    pub(super) async fn finish(&self) -> Vec<(&ColdRow, Found)> {
        self.done.notified().await;
        let found = std::mem::take(&mut *self.found.lock());
        found.into_iter().map(|(index, found)| (&self.rows[index], found)).collect()
    }

    fn read(&self, node: &Node, range: Range<usize>) {
        let store = node.keyspace.store();
        let mut all = Vec::with_capacity(range.len());
        for index in range {
            let ColdRow { family, row } = &self.rows[index];
            let epoch = store.epoch();
            match store.with_db(|db| db.read_cold(*family, row)) {
                Ok(Ok(_)) if self.found_bytes.load(Ordering::Relaxed) > FOUND_BYTES_MAX => {}
                Ok(Ok((value, as_of))) => {
                    let bytes = value.as_ref().map_or(0, |value| value.len());
                    self.found_bytes.fetch_add(bytes, Ordering::Relaxed);
                    all.push((index, Found { value, as_of, epoch }));
                }
                // The run will meet it again, and say so.
                Ok(Err(ReadError::Failed(reason))) => tracing::warn!(reason, "a cold row could not be read"),
                Ok(Err(ReadError::Cold)) | Err(_) => {}
            }
        }
        self.found.lock().append(&mut all);
    }
}

/// Rows that a reader has taken. However it ends, they count as done.
struct Taken {
    burst: Arc<Burst>,
    range: Range<usize>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.burst.left.fetch_sub(self.range.len(), Ordering::AcqRel) == self.range.len() {
            self.burst.done.notify_one();
        }
    }
}

#[derive(Default)]
struct Queue {
    /// Bursts with rows that nobody has taken, and how many of their rows were taken.
    bursts: VecDeque<(Arc<Burst>, usize)>,
    /// Rows nobody has taken.
    rows: usize,
    idle: usize,
    started: usize,
    ending: bool,
}

struct Inner {
    node: Arc<Node>,
    threads_max: usize,
    queue: Mutex<Queue>,
    ready: Condvar,
}

/// See the head of the file.
pub(super) struct Readers {
    inner: Arc<Inner>,
}

impl Readers {
    pub(super) fn new(node: Arc<Node>, threads_max: usize) -> Readers {
        let inner = Inner { node, threads_max, queue: Mutex::default(), ready: Condvar::new() };
        Readers { inner: Arc::new(inner) }
    }

    /// Has rows read. Nothing if there are none, or nobody to read them any more.
    pub(super) fn read(&self, rows: Vec<ColdRow>) -> Option<Arc<Burst>> {
        if rows.is_empty() {
            return None;
        }
        let count = rows.len();
        let burst = Arc::new(Burst {
            rows,
            left: AtomicUsize::new(count),
            found_bytes: AtomicUsize::new(0),
            found: Mutex::default(),
            done: Notify::new(),
        });
        let mut queue = self.inner.queue.lock();
        if queue.ending {
            return None;
        }
        queue.rows += count;
        queue.bursts.push_back((Arc::clone(&burst), 0));
        self.inner.call_one(&mut queue);
        Some(burst)
    }

    /// What is in the queue is still read; then the threads end.
    pub(super) fn end(&self) {
        self.inner.queue.lock().ending = true;
        self.inner.ready.notify_all();
    }
}

impl Inner {
    /// Gets one more thread to work, if there is one left.
    fn call_one(self: &Arc<Inner>, queue: &mut Queue) {
        if queue.idle > 0 {
            self.ready.notify_one();
        } else if queue.started < self.threads_max {
            let inner = Arc::clone(self);
            let name = format!("tuff-reader-{}", queue.started);
            match std::thread::Builder::new().name(name).spawn(move || inner.work()) {
                Ok(_) => queue.started += 1,
                Err(error) if queue.started > 0 => tracing::warn!(%error, "no more readers can be started"),
                Err(error) => {
                    // Nobody is there to read: whoever waits must not wait for ever.
                    tracing::error!(%error, "no reader can be started");
                    queue.rows = 0;
                    for (burst, taken) in queue.bursts.drain(..) {
                        let range = taken..burst.rows.len();
                        drop(Taken { burst, range });
                    }
                }
            }
        }
    }

    fn work(self: Arc<Inner>) {
        while let Some(taken) = self.take() {
            taken.burst.read(&self.node, taken.range.clone());
        }
    }

    /// The next rows to read; nothing when all is over.
    fn take(self: &Arc<Inner>) -> Option<Taken> {
        let mut queue = self.queue.lock();
        loop {
            let share = (queue.rows / (2 * self.threads_max)).clamp(1, TAKEN_MAX);
            if let Some((burst, first)) = queue.bursts.front_mut() {
                let end = (*first + share).min(burst.rows.len());
                let taken = Taken { burst: Arc::clone(burst), range: *first..end };
                *first = end;
                if end == taken.burst.rows.len() {
                    queue.bursts.pop_front();
                }
                queue.rows -= taken.range.len();
                if queue.rows > 0 {
                    self.call_one(&mut queue);
                }
                return Some(taken);
            }
            if queue.ending {
                return None;
            }
            queue.idle += 1;
            self.ready.wait(&mut queue);
            queue.idle -= 1;
        }
    }
}
