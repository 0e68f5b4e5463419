//! The I/O pool: the threads that may wait for a disk. Heavy commands have a few of their own, so that they never keep a cold read
//! waiting. Both kinds are nice to the workers, the heavy ones more so: what they do is long and mostly computing.

use crate::base::priority::be_nice;
use std::sync::Arc;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Heavy commands at the same time.
pub const HEAVY_MAX: usize = 4;
/// Besides, those of waiters who have the turn on a key: all others may be waiting for them.
const FED_MAX: usize = 2;
/// How nice the threads are. A cold read is waited for by its client and uses little; so it is nearly a worker's equal.
const NICE: i32 = 2;
const HEAVY_NICE: i32 = 10;

/// The pool.
pub struct Pool {
    cold: Handle,
    heavy: Handle,
    heavy_turns: Arc<Semaphore>,
    fed_turns: Arc<Semaphore>,
    runtimes: parking_lot::Mutex<Vec<Runtime>>,
}

/// One of the turns of heavy commands; dropped, it is the next one's.
pub struct HeavyTurn(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

fn start_threads(name: &str, threads: usize, nice: i32) -> std::io::Result<Runtime> {
    let start = move || {
        be_nice(nice);
    };
    Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(threads)
        .thread_name(name)
        .on_thread_start(start)
        .enable_time()
        .build()
}

impl Pool {
    /// A pool of this many threads, started as they are needed.
    pub fn new(threads: usize) -> std::io::Result<Pool> {
        let cold = start_threads("tuff-pool", threads.max(1), NICE)?;
        let heavy = start_threads("tuff-heavy", HEAVY_MAX + FED_MAX, HEAVY_NICE)?;
        Ok(Pool {
            cold: cold.handle().clone(),
            heavy: heavy.handle().clone(),
            heavy_turns: Arc::new(Semaphore::new(HEAVY_MAX)),
            fed_turns: Arc::new(Semaphore::new(FED_MAX)),
            runtimes: parking_lot::Mutex::new(vec![cold, heavy]),
        })
    }

    /// Runs work that may wait for the disk. `None` when it panicked or the pool is gone.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.cold.spawn_blocking(work).await.ok()
    }

    /// Starts such work without waiting for it here.
    pub fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.cold.spawn_blocking(work)
    }

    /// A heavy command's turn among the heavy ones, when it comes. `is_fed` for that of a waiter who has the turn on a key.
    pub async fn heavy_turn(&self, is_fed: bool) -> Option<HeavyTurn> {
        let turns = if is_fed { &self.fed_turns } else { &self.heavy_turns };
        Arc::clone(turns).acquire_owned().await.ok().map(HeavyTurn)
    }

    /// Runs a heavy command, whose turn it is.
    pub async fn run_heavy<T: Send + 'static>(
        &self,
        _turn: HeavyTurn,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.heavy.spawn_blocking(work).await.ok()
    }

    /// Ends the pool, leaving running work to itself.
    pub fn end(&self) {
        for runtime in self.runtimes.lock().drain(..) {
            runtime.shutdown_background();
        }
    }
}
