//! The WAL thread: brings the log onto stable storage for everybody who waits.
//!
//! With `appendfsync always` replies wait for `synced`; the thread syncs as soon as anybody asks, and all who asked while it was
//! syncing share the next one: no gather sleep. With `everysec` it syncs once a second. With `no` it leaves that to the operating
//! system. Stripe locks are never held across a wait here.

use crate::config::AppendFsync;
use crate::dispatch::node::{LoopLag, Node};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often `everysec` syncs.
const PERIOD: Duration = Duration::from_secs(1);

/// The WAL thread's desk.
pub struct WalSync {
    wanted: Mutex<u64>,
    ask: Condvar,
    progress: watch::Sender<u64>,
    ended: AtomicBool,
    last_sync_us: AtomicU64,
    syncs: AtomicU64,
    /// How long the workers took to hand the log to the operating system.
    writes: LoopLag,
}

impl Default for WalSync {
    fn default() -> WalSync {
        WalSync {
            wanted: Mutex::new(0),
            ask: Condvar::new(),
            progress: watch::Sender::new(0),
            ended: AtomicBool::new(false),
            last_sync_us: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            writes: LoopLag::default(),
        }
    }
}

impl WalSync {
    /// Starts the thread.
    pub fn start(self: &Arc<Self>, node: Arc<Node>) -> std::io::Result<std::thread::JoinHandle<()>> {
        let sync = Arc::clone(self);
        std::thread::Builder::new().name("tuff-wal".to_owned()).spawn(move || sync.serve(&node))
    }

    /// Hands the log up to `sequence` to the operating system, if nobody has. False when that has failed.
    pub fn flush(&self, node: &Node, sequence: u64) -> bool {
        let store = node.keyspace.store();
        if store.flushed_sequence() >= sequence {
            return true;
        }
        let began_us = node.clock.mono_us();
        let flushed = store.flush_wal(sequence);
        self.writes.note(node.clock.mono_us().saturating_sub(began_us));
        if flushed.is_err() {
            node.keyspace.signal_failure();
        }
        flushed.is_ok()
    }

    /// How long the log's writes took.
    pub fn writes(&self) -> &LoopLag {
        &self.writes
    }

    /// Waits until the log is on stable storage up to `sequence`, or the store has failed (false) or been reopened.
    pub async fn synced(&self, node: &Node, sequence: u64) -> bool {
        let store = node.keyspace.store();
        let epoch = store.epoch();
        let mut progress = self.progress.subscribe();
        loop {
            if store.epoch() != epoch || store.is_failed() {
                return false;
            }
            if store.synced_sequence() >= sequence {
                return true;
            }
            {
                let mut wanted = self.wanted.lock();
                *wanted = (*wanted).max(sequence);
                self.ask.notify_one();
            }
            if progress.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Tells those who wait to look again: the store has failed or been reopened.
    pub fn nudge(&self) {
        self.progress.send_modify(|round| *round += 1);
    }

    /// Microseconds since the last sync that succeeded; how much `everysec` could lose.
    pub fn lag_us(&self, node: &Node) -> u64 {
        let store = node.keyspace.store();
        let idle =
            store.with_db(|db| db.latest_sequence()).is_ok_and(|latest| latest <= store.synced_sequence());
        if idle { 0 } else { node.clock.mono_us().saturating_sub(self.last_sync_us.load(Ordering::Relaxed)) }
    }

    /// Syncs done.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Ends the thread; `Store::close` does the last sync.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.ask.notify_one();
    }

    fn serve(&self, node: &Node) {
        let store = node.keyspace.store();
        let mut next_period = Instant::now() + PERIOD;
        while !self.ended.load(Ordering::Acquire) {
            let asked = {
                let mut wanted = self.wanted.lock();
                if *wanted <= store.synced_sequence() {
                    self.ask.wait_until(&mut wanted, next_period);
                }
                *wanted > store.synced_sequence()
            };
            let due = Instant::now() >= next_period;
            if due {
                next_period = Instant::now() + PERIOD;
            }
            let periodic = due && node.config.appendfsync() != AppendFsync::No;
            if (asked || periodic) && !store.is_failed() {
                let clean = store
                    .with_db(|db| db.latest_sequence())
                    .is_ok_and(|latest| latest <= store.synced_sequence());
                if asked || !clean {
                    self.sync_once(node);
                } else {
                    self.last_sync_us.store(node.clock.mono_us(), Ordering::Relaxed);
                }
            } else if asked {
                // The store has failed: whoever waits must look for himself.
                *self.wanted.lock() = 0;
                self.nudge();
            }
        }
    }

    fn sync_once(&self, node: &Node) {
        match node.keyspace.store().sync_wal() {
            Ok(_) => {
                self.syncs.fetch_add(1, Ordering::Relaxed);
                self.last_sync_us.store(node.clock.mono_us(), Ordering::Relaxed);
            }
            Err(error) => {
                tracing::debug!(%error, "the log could not be synced");
                *self.wanted.lock() = 0;
                node.keyspace.signal_failure();
            }
        }
        self.nudge();
    }
}
