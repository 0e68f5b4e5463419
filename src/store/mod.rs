//! The one floor that speaks to RocksDB. Above it nobody sees one of its types.
//!
//! `Store` outlives the database handle inside it: after a failed log write RocksDB refuses everything, so the store closes and
//! reopens it (`reopen`) behind the same `Store`. Each opening is an *epoch*; what was read or promised under one epoch and not
//! yet flushed is worth nothing under the next.
//!
//! Read in this order: `handle` (reads, writes and scans on an open database), `open` (its options), `row_filter` (what answers
//! for rows that never were), `dead` (what the compaction filter may drop), `faults` (hooks by which tests make the disk slow, full or
//! broken), `direct` (reads for measuring).
//!
//! Threads: workers use `Tier::Memory` and never wait for a disk; the pool uses `Tier::Disk`. `reopen`, `checkpoint`,
//! `sync_wal` and `flush_memtables` may wait for the disk and belong to the pool and the WAL thread.

mod dead;
mod direct;
mod faults;
mod handle;
mod memtables;
mod open;
mod pace;
mod row_filter;

pub use dead::DeadSet;
pub use direct::KeyReader;
pub use faults::Faults;
pub use handle::{Batch, Db, Direction, Snapshot, View, Visit};
pub use open::StoreOptions;
pub use pace::Pace;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far a read may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Memtables and block cache; a read that would need the disk answers `ReadError::Cold`.
    Memory,
    /// The disk, too.
    Disk,
}

/// A read that gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The answer is on disk and the caller may not wait for it.
    #[error("the row is not in memory")]
    Cold,
    /// The database cannot be read.
    #[error("{0}")]
    Failed(String),
}

/// A write that was not done.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Memtables or level 0 are full: nothing was written, try again later.
    #[error("writes are stalled")]
    Stalled,
    /// The write may be half in the log; the handle is done for and must be reopened.
    #[error("{0}")]
    Failed(String),
}

/// The database cannot be used at the moment; the text says why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// What RocksDB's errors say when the disk is full, in the system's words.
const NO_SPACE: &str = "No space left on device";
/// Why writes are refused that RocksDB would keep waiting for as long as the disk is nearly full.
pub const STOPPED: &str =
    "RocksDB takes no writes, and what would make room for them fails: is the disk nearly full?";

/// A RocksDB database that can be reopened in place.
pub struct Store {
    path: PathBuf,
    options: StoreOptions,
    shared: open::Shared,
    handle: ArcSwapOption<Db>,
    /// Why the handle is unusable, while it is.
    failure: Mutex<Option<String>>,
    failed: AtomicBool,
    flushed: AtomicU64,
    synced: AtomicU64,
    epoch: AtomicU64,
    reopens: AtomicU64,
    /// Bytes of all batches written.
    written_bytes: AtomicU64,
    watch: Mutex<memtables::Watch>,
    faults: Arc<Faults>,
}

impl Store {
    /// Opens (or makes) the database in `path`. Waits for the disk.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Store, Unavailable> {
        let faults = Arc::new(Faults::default());
        let shared = open::Shared::new(&options);
        let store = Store {
            path: path.to_owned(),
            options,
            shared,
            handle: ArcSwapOption::empty(),
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
            flushed: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            reopens: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            watch: Mutex::default(),
            faults,
        };
        match store.open_handle(false) {
            Ok(db) => {
                if db.latest_sequence() == 0 {
                    store.shared.row_filter.begin_empty();
                }
                store.install(db);
            }
            // What is there can be read, and written when there is room.
            Err(error) if error.0.contains(NO_SPACE) => {
                store.fail(&error.0);
                store.install(store.open_handle(true).map_err(|_| error)?);
            }
            Err(error) => return Err(error),
        }
        Ok(store)
    }

    fn open_handle(&self, read_only: bool) -> Result<Db, Unavailable> {
        if !read_only && self.faults.refuses_open() {
            return Err(Unavailable("IO error: no space left on device (injected)".to_owned()));
        }
        open::open_db(&self.path, &self.options, &self.shared, Arc::clone(&self.faults), read_only)
    }

    fn install(&self, db: Db) {
        let sequence = db.latest_sequence();
        self.flushed.store(sequence, Ordering::Release);
        self.synced.store(sequence, Ordering::Release);
        self.shared.dead.synced(sequence);
        let read_only = db.is_read_only();
        self.watch.lock().begin_small();
        self.handle.store(Some(Arc::new(db)));
        self.epoch.fetch_add(1, Ordering::AcqRel);
        if !read_only {
            *self.failure.lock() = None;
            self.failed.store(false, Ordering::Release);
        }
    }

    /// The open database, or why there is none.
    pub fn db(&self) -> Result<arc_swap::Guard<Option<Arc<Db>>>, Unavailable> {
        let guard = self.handle.load();
        if guard.is_some() { Ok(guard) } else { Err(self.unavailable()) }
    }

    /// Runs `work` on the open database.
    pub fn with_db<T>(&self, work: impl FnOnce(&Db) -> T) -> Result<T, Unavailable> {
        match self.db()?.as_deref() {
            Some(db) => Ok(work(db)),
            None => Err(self.unavailable()),
        }
    }

    fn unavailable(&self) -> Unavailable {
        Unavailable(self.failure.lock().clone().unwrap_or_else(|| "the database is closed".to_owned()))
    }

    /// The number of the current opening. It changes when the handle does.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// True from a failed write until a reopen that can write again.
    pub fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Why the store refuses writes, if it does.
    pub fn failure(&self) -> Option<String> {
        if self.is_failed() { self.failure.lock().clone() } else { None }
    }

    /// How often the handle was reopened.
    pub fn reopens(&self) -> u64 {
        self.reopens.load(Ordering::Relaxed)
    }

    /// Takes note that a write or flush failed: from here on every write is refused until `reopen`.
    pub fn fail(&self, reason: &str) {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            *failure = Some(reason.to_owned());
        }
        self.failed.store(true, Ordering::Release);
    }

    /// Writes a batch. `wait` lets it wait out a stall (pool only); otherwise a stall is an error at once.
    /// Gives a sequence at or above that of every row of the batch.
    pub fn write(&self, db: &Db, batch: Batch, wait: bool) -> Result<u64, WriteError> {
        if self.is_failed() {
            return Err(WriteError::Failed(self.unavailable().0));
        }
        self.written_bytes.fetch_add(batch.bytes() as u64, Ordering::Relaxed);
        db.write(batch, wait).inspect_err(|error| {
            if let WriteError::Failed(reason) = error {
                self.fail(reason);
            }
        })
    }

    /// Whether the database is open for writing and takes no writes for now.
    pub fn is_stopped(&self) -> bool {
        self.handle.load().as_ref().is_some_and(|db| db.is_stopped())
    }

    /// Whether a flush or a compaction has failed since the database was opened.
    pub fn has_failed_behind(&self) -> bool {
        self.handle.load().as_ref().is_some_and(|db| db.has_failed_behind())
    }

    /// The highest sequence handed to the operating system.
    pub fn flushed_sequence(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// The highest sequence known to be on stable storage.
    pub fn synced_sequence(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Hands the log up to at least `sequence` to the operating system, one write(2) for all that waits; nothing when that
    /// has been done. The workers' one file call.
    pub fn flush_wal(&self, sequence: u64) -> Result<(), Unavailable> {
        if self.flushed_sequence() >= sequence {
            return Ok(());
        }
        self.push_wal(false).map(|_| ())
    }

    /// Brings everything written so far onto stable storage. Waits for the disk. Gives the sequence that is safe now.
    pub fn sync_wal(&self) -> Result<u64, Unavailable> {
        let sequence = self.push_wal(true)?;
        self.synced.fetch_max(sequence, Ordering::AcqRel);
        self.shared.dead.synced(sequence);
        Ok(sequence)
    }

    fn push_wal(&self, sync: bool) -> Result<u64, Unavailable> {
        if self.is_failed() {
            return Err(self.unavailable());
        }
        let guard = self.db()?;
        let Some(db) = guard.as_deref() else { return Err(self.unavailable()) };
        let epoch = self.epoch();
        let sequence = db.latest_sequence();
        db.flush_wal(sync).map_err(|reason| {
            self.fail(&reason);
            Unavailable(reason)
        })?;
        if epoch == self.epoch() {
            self.flushed.fetch_max(sequence, Ordering::AcqRel);
        }
        Ok(sequence)
    }

    /// To be called before a failed handle is closed, while others still use it: who waits for room to write is told that there will be none.
    pub fn give_up(&self) {
        if let Some(db) = self.handle.load().as_ref() {
            db.give_up();
        }
    }

    /// Closes the failed handle and opens the database again from what is on disk. The caller has made sure that nobody starts
    /// anything new on the handle; `hurry` is called again and again while somebody still uses it. When it cannot be opened for writing it is opened for reading, and the failure stays.
    pub fn reopen(&self, hurry: impl Fn()) -> Result<(), Unavailable> {
        if let Some(old) = self.handle.swap(None) {
            while Arc::strong_count(&old) > 1 {
                hurry();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let lost = self.faults.takes_loss().then(|| faults::log_lengths(&self.path));
            drop(old);
            faults::cut_logs(lost.unwrap_or_default());
        }
        // Before compactions can begin; whoever reads the system rows fills it again.
        self.shared.dead.clear();
        match self.open_handle(false) {
            Ok(db) => {
                self.install(db);
                self.reopens.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                *self.failure.lock() = Some(error.0.clone());
                if let Ok(db) = self.open_handle(true) {
                    self.install(db);
                }
                Err(error)
            }
        }
    }

    /// Hooks for tests.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What the compaction filter may drop.
    pub fn dead(&self) -> &DeadSet {
        &self.shared.dead
    }

    /// Bytes in the block cache, and its capacity.
    pub fn block_cache_bytes(&self) -> (usize, usize) {
        self.shared.block_cache_bytes()
    }

    /// Bytes the memtables hold.
    pub fn memtable_bytes(&self) -> usize {
        self.shared.memtable_bytes()
    }

    /// Bytes the filter of rows takes, and whether it has all of them, so that it is asked.
    pub fn row_filter(&self) -> (usize, bool) {
        self.shared.row_filter.figures()
    }

    /// Looks after the filter of rows, for some milliseconds. Waits for the disk. To be called some ten times a second.
    pub fn tend_row_filter(&self) {
        if let Ok(Some(db)) = self.db().as_deref() {
            self.shared.row_filter.tend(db);
        }
    }

    /// Fits the memtables to how fast they fill. Called every tenth of a second, on the pool.
    pub fn tend_memtables(&self) {
        if let Ok(Some(db)) = self.db().as_deref()
            && !db.is_read_only()
        {
            let written_bytes = self.written_bytes.load(Ordering::Relaxed);
            let tended = self.watch.lock().tend(db, written_bytes, self.options.write_buffer_bytes);
            if let Err(reason) = tended {
                tracing::debug!(reason, "the memtables stay as they are");
            }
        }
    }

    /// Changes the budgets of memtables and filter of rows while running; the filter may take a part of what the block cache may, whose own
    /// budget stays as it is.
    pub fn set_budgets(&self, block_cache_bytes: usize, write_buffer_bytes: usize) {
        self.shared.set_budgets(block_cache_bytes, write_buffer_bytes);
    }

    /// Changes the block cache's budget. Frees what is over it in the calling thread.
    pub fn set_block_cache_budget(&self, bytes: usize) {
        self.shared.set_block_cache_budget(bytes);
    }

    /// Flushes the memtables: their memory is free again, and RocksDB removes the logs of what they held. Waits for the disk.
    pub fn flush_memtables(&self) -> Result<(), Unavailable> {
        self.with_db(|db| db.flush_memtables())?.map_err(Unavailable)
    }

    /// Flushes the memtables, empties the block cache and drops the filter of rows, so that everything is on disk only. For tests of
    /// the cold path.
    pub fn chill(&self) -> Result<(), Unavailable> {
        self.flush_memtables()?;
        self.shared.row_filter.end();
        self.shared.empty_block_cache();
        Ok(())
    }

    /// Makes a checkpoint (hard links and the log's tail) in `path`, which must not exist. No pause for anybody.
    pub fn checkpoint(&self, path: &Path) -> Result<(), Unavailable> {
        self.with_db(|db| db.checkpoint(path))?.map_err(Unavailable)
    }

    /// Closes the database, the log flushed and synced.
    pub fn close(&self) -> Result<(), Unavailable> {
        let synced = self.sync_wal().map(|_| ());
        self.fail("the server is shutting down");
        self.give_up();
        if let Some(old) = self.handle.swap(None) {
            for _ in 0..1000 {
                if Arc::strong_count(&old) == 1 {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        synced
    }

    /// The data folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
