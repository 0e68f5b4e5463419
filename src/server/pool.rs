//! The I/O pool: the threads that may wait for a disk. Cold reads use all of them; heavy commands only a few at a time, so that
//! they never keep a cold read waiting.

use std::sync::Arc;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

/// Heavy commands at the same time.
const HEAVY_MAX: usize = 4;

/// The pool.
pub struct Pool {
    handle: Handle,
    heavy: Arc<Semaphore>,
    runtime: parking_lot::Mutex<Option<Runtime>>,
}

impl Pool {
    /// A pool of this many threads, started as they are needed.
    pub fn new(threads: usize) -> std::io::Result<Pool> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(threads.max(HEAVY_MAX + 1))
            .thread_name("tuff-pool")
            .enable_time()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Pool {
            handle,
            heavy: Arc::new(Semaphore::new(HEAVY_MAX)),
            runtime: parking_lot::Mutex::new(Some(runtime)),
        })
    }

    /// Runs work that may wait for the disk. `None` when it panicked or the pool is gone.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.handle.spawn_blocking(work).await.ok()
    }

    /// Starts such work without waiting for it here.
    pub fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.handle.spawn_blocking(work)
    }

    /// Runs a heavy command, when its turn among the heavy ones comes.
    pub async fn run_heavy<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _permit = Arc::clone(&self.heavy).acquire_owned().await.ok()?;
        self.run(work).await
    }

    /// Ends the pool, leaving running work to itself.
    pub fn end(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}
