//! The keyspace: the one door to data.
//!
//! Read in this order: `txn` (what a run reads and gathers), `commit` (how that becomes real), `stripes` and `gate` (who may run
//! beside whom), `databases` (SELECT's numbers, DBSIZE), `libraries` (functions), `watch`, `events`, then the two background tasks `expiry` and `gc`.
//!
//! The order of locks is in docs/architecture.md. No lock is held across a wait on a worker.

mod building;
mod commit;
mod databases;
mod error;
pub mod events;
pub mod expiry;
mod figures;
mod filling;
mod foresight;
mod gate;
mod gathering;
pub mod gc;
mod libraries;
mod locked;
mod marks;
#[cfg(test)]
mod model_tests;
mod overlay;
mod ranks;
mod scratch;
mod stretches;
mod stripes;
#[cfg(test)]
pub mod testbed;
mod tuning;
mod txn;
mod watch;

pub use building::Build;
pub use commit::Committed;
pub use databases::{Database, DatabaseMap, Remapping, Writer};
pub use error::{Error, Outcome, Stop, TimeoutReply, Wait, fail};
pub use figures::Figures;
pub use filling::{ColdRow, Found};
pub use foresight::Foresight;
pub use gate::{Alone, Gate, Inside};
pub use gathering::{Gathering, Taken};
pub use libraries::{Libraries, LoadedLibrary};
pub use marks::{Marking, Sought};
pub use ranks::Indexing;
pub use scratch::{Savepoint, Scratch};
pub use stretches::Stretch;
pub use stripes::{Held, Holder, LockPlan, StripeId, Stripes};
pub use tuning::Tuning;
pub use txn::{KEY_LEN_MAX, Key, Mode, NewHead, RunIdentity, Stored, Txn};
pub use watch::{WatchFlag, Watches};

pub use crate::hot::RowValue;
pub use crate::store::Direction;

use crate::base::clock::Clock;
use crate::base::random::fill_entropy;
use crate::encoding::gc::GcRow;
use crate::encoding::row::{HashSeed, Namespace};
use crate::encoding::system::{
    COUNTER_PREFIX, Count, DATABASE_PREFIX, FORMAT_ROW, NAMESPACE_ROW, SEED_ROW, VERSION_ROW,
    split_counter_row, split_database_row,
};
use crate::encoding::{FORMAT_VERSION, Family, row::successor};
use crate::hot::{HotTier, RowName};
use crate::store::{Batch, Db, ReadError, STOPPED, Store, Tier, Unavailable, View, WriteError};
use crate::waiters::Waiters;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use tokio::sync::Notify;

/// Cheap steps (elements, rows) a worker may take for one command; beyond, the command is Heavy. About a millisecond.
pub const WORKER_STEPS_MAX: u64 = 5_000;

/// And for all the commands of a transaction together. Some are counted twice: announced, and taken.
const RUN_STEPS_MAX: u64 = 4 * WORKER_STEPS_MAX;

/// Versions leased at a time. 64 bits have room for four billion leases.
const VERSION_LEASE: u64 = 1 << 32;

/// Everything about the data of one server.
pub struct Keyspace {
    store: Arc<Store>,
    hot: HotTier,
    seed: HashSeed,
    stripes: Stripes,
    gate: Gate,
    databases: ArcSwap<DatabaseMap>,
    libraries: ArcSwap<Libraries>,
    /// Held by a pool thread from counting keys to the end of its commit.
    pool_counts: Mutex<()>,
    watches: Watches,
    waiters: Waiters,
    tuning: Tuning,
    figures: Figures,
    telling: events::Telling,
    expiry: expiry::Progress,
    gc: Arc<gc::Progress>,
    clock: Clock,
    next_version: AtomicU64,
    next_namespace: AtomicU32,
    failure: Notify,
}

/// Why a data folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// RocksDB says no.
    #[error("cannot use the database: {0}")]
    Store(String),
    /// The folder was written by another version.
    #[error("the data folder has format version {found}, this program reads version {FORMAT_VERSION}")]
    Format {
        /// What the folder says.
        found: u32,
    },
}

impl From<Unavailable> for OpenError {
    fn from(error: Unavailable) -> OpenError {
        OpenError::Store(error.to_string())
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> OpenError {
        OpenError::Store(error.to_string())
    }
}

impl From<WriteError> for OpenError {
    fn from(error: WriteError) -> OpenError {
        OpenError::Store(error.to_string())
    }
}

/// The name of a row in the hot tier.
fn hot_name(family: Family, row: &[u8]) -> RowName<'_> {
    RowName { kind: family as u8, row }
}

/// What the system family holds, as read at start and after a reopen.
struct SystemRows {
    seed: HashSeed,
    databases: DatabaseMap,
    libraries: Libraries,
    next_version: u64,
    next_namespace: u32,
}

impl Keyspace {
    /// Reads what must be in memory and leases versions. Waits for the disk.
    pub fn open(
        store: Arc<Store>,
        hot: HotTier,
        clock: Clock,
        database_count: u32,
        workers: usize,
    ) -> Result<Keyspace, OpenError> {
        let gc = Arc::<gc::Progress>::default();
        let rows = store.with_db(|db| read_system(db, &store, &gc, database_count))??;
        let keyspace = Keyspace {
            hot,
            seed: rows.seed,
            stripes: Stripes::default(),
            gate: Gate::new(workers),
            databases: ArcSwap::from_pointee(rows.databases),
            libraries: ArcSwap::from_pointee(rows.libraries),
            pool_counts: Mutex::default(),
            watches: Watches::default(),
            waiters: Waiters::default(),
            tuning: Tuning::default(),
            figures: Figures::default(),
            telling: events::Telling::default(),
            expiry: expiry::Progress::default(),
            gc,
            clock,
            next_version: AtomicU64::new(rows.next_version),
            next_namespace: AtomicU32::new(rows.next_namespace),
            failure: Notify::new(),
            store,
        };
        keyspace.gc.notice();
        if keyspace.store.is_failed() {
            keyspace.signal_failure();
        }
        Ok(keyspace)
    }

    /// Begins a run. The caller holds what `mode` asks for (see `txn`).
    pub fn begin<'k>(
        &'k self,
        view: View<'k>,
        mode: Mode,
        run: &RunIdentity,
        scratch: &'k mut Scratch,
    ) -> Txn<'k> {
        scratch.clear();
        Txn::new(self, view, mode, run, scratch)
    }

    /// Begins a run behind those whose writes are in `scratch`: it sees them, and is committed with them.
    pub fn begin_behind<'k>(
        &'k self,
        view: View<'k>,
        mode: Mode,
        run: &RunIdentity,
        scratch: &'k mut Scratch,
    ) -> Txn<'k> {
        Txn::new(self, view, mode, run, scratch)
    }

    /// Rebuilds what memory holds of the disk after a reopen, alone in the keyspace. Waiters look again, watches are broken.
    pub fn rebuild(&self, _alone: &Alone<'_>) -> Result<(), OpenError> {
        let count = self.databases().len() as u32;
        let rows = self.store.with_db(|db| read_system(db, &self.store, &self.gc, count))??;
        self.hot.clear();
        self.databases.store(Arc::new(rows.databases));
        self.libraries.store(Arc::new(rows.libraries));
        self.next_version.fetch_max(rows.next_version, Ordering::AcqRel);
        self.next_namespace.fetch_max(rows.next_namespace, Ordering::AcqRel);
        let sequence = self.store.flushed_sequence();
        self.stripes.set_all_sequences(sequence);
        self.watches.touch_all();
        self.waiters.recheck_all();
        self.expiry.restart();
        self.gc.notice();
        Ok(())
    }

    /// Tells whoever watches over the store that a write or flush has failed.
    pub fn signal_failure(&self) {
        self.failure.notify_one();
    }

    /// Waits for a failure of the store.
    pub async fn failure(&self) {
        self.failure.notified().await;
    }

    /// Extends the lease of versions when half of it is used. Called now and then by the housekeeping.
    pub fn extend_lease(&self, leased_until: &mut u64) -> Result<(), OpenError> {
        if leased_until.saturating_sub(self.next_version.load(Ordering::Acquire)) > VERSION_LEASE / 2 {
            return Ok(());
        }
        let until = self.next_version.load(Ordering::Acquire) + VERSION_LEASE;
        self.store.with_db(|db| {
            let mut batch = Batch::default();
            batch.put(db, Family::System, VERSION_ROW, &until.to_be_bytes());
            self.store.write(db, batch, true)
        })??;
        *leased_until = until;
        Ok(())
    }

    fn next_version(&self) -> u64 {
        self.next_version.fetch_add(1, Ordering::Relaxed)
    }

    fn next_namespace(&self) -> u32 {
        self.next_namespace.fetch_add(1, Ordering::Relaxed)
    }

    fn namespaces_used(&self) -> u32 {
        self.next_namespace.load(Ordering::Relaxed)
    }

    fn install_databases(&self, databases: Arc<DatabaseMap>) {
        self.databases.store(databases);
    }

    /// The logical databases as they are now.
    pub fn databases(&self) -> Arc<DatabaseMap> {
        self.databases.load_full()
    }

    /// Where the keys of a logical database lie.
    pub fn namespace(&self, database: u32) -> Option<Namespace> {
        self.databases.load().get(database as usize).map(|database| database.namespace())
    }

    /// The store under the keyspace.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The memory tier.
    pub fn hot(&self) -> &HotTier {
        &self.hot
    }

    /// The name under which the hot tier knows a key's head.
    pub fn hot_name<'k>(&self, key: &'k Key) -> RowName<'k> {
        hot_name(Family::Keys, key.row())
    }

    /// What keys every hash.
    pub fn seed(&self) -> &HashSeed {
        &self.seed
    }

    /// The key locks.
    pub fn stripes(&self) -> &Stripes {
        &self.stripes
    }

    /// The gate.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Who watches what.
    pub fn watches(&self) -> &Watches {
        &self.watches
    }

    /// Watches a key by its database and head row, as a run found it.
    pub fn watch(&self, database: u32, row: &[u8], flag: &WatchFlag, existed: bool) {
        self.watches.add(row, flag, existed);
        // FLUSHDB or SWAPDB since that run: the row may have come too late to move along.
        let databases = self.databases();
        let namespace = databases.get(database as usize).map(|database| database.namespace().0.to_be_bytes());
        if !namespace.is_some_and(|namespace| row.starts_with(&namespace)) {
            flag.store(true, Ordering::Release);
        }
    }

    /// Who waits for what.
    pub fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// The settings data types ask for.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// Counters for INFO and the metrics.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The clock commands run by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// Reads (in a new folder: writes) the rows of the system family and leases versions; fills the dead set from `gc`.
fn read_system(
    db: &Db,
    store: &Store,
    gc: &gc::Progress,
    database_count: u32,
) -> Result<SystemRows, OpenError> {
    let view = db.newest(Tier::Disk);
    let mut batch = Batch::default();
    let number = |row: &[u8]| -> Result<Option<u32>, ReadError> {
        Ok(view
            .get(Family::System, row)?
            .and_then(|value| Some(u32::from_be_bytes((*value).try_into().ok()?))))
    };
    match number(FORMAT_ROW)? {
        None => batch.put(db, Family::System, FORMAT_ROW, &FORMAT_VERSION.to_be_bytes()),
        Some(FORMAT_VERSION) => {}
        Some(found) => return Err(OpenError::Format { found }),
    }
    let seed = match view.get(Family::System, SEED_ROW)?.and_then(|value| (*value).try_into().ok()) {
        Some(seed) => HashSeed(seed),
        None => {
            let mut seed = [0; 16];
            fill_entropy(&mut seed);
            batch.put(db, Family::System, SEED_ROW, &seed);
            HashSeed(seed)
        }
    };
    let leased = view.get(Family::System, VERSION_ROW)?.and_then(|value| (*value).try_into().ok());
    let next_version = leased.map_or(1, u64::from_be_bytes);
    batch.put(db, Family::System, VERSION_ROW, &(next_version + VERSION_LEASE).to_be_bytes());
    let next_namespace = number(NAMESPACE_ROW)?.unwrap_or(1 << 20);
    if !db.is_read_only() {
        match store.write(db, batch, false) {
            // Without the lease nothing may be written: whoever repairs the store comes again.
            Err(WriteError::Stalled) => store.fail(STOPPED),
            written => {
                written?;
                store.sync_wal()?;
            }
        }
    }
    let databases = read_databases(&view, database_count)?;
    let libraries = Libraries::read(&view)?;
    read_dead(&view, store, gc)?;
    Ok(SystemRows { seed, databases, libraries, next_version, next_namespace })
}

fn read_databases(view: &View<'_>, database_count: u32) -> Result<DatabaseMap, OpenError> {
    let mut namespaces: Vec<_> = (0..database_count).map(Namespace).collect();
    let end = successor(DATABASE_PREFIX);
    view.scan(Family::System, DATABASE_PREFIX, &end, Direction::Up, |row, value| {
        let namespace = value.try_into().map(u32::from_be_bytes).ok();
        if let (Some(number), Some(namespace)) = (split_database_row(row), namespace)
            && let Some(slot) = namespaces.get_mut(number as usize)
        {
            *slot = Namespace(namespace);
        }
        Ok::<_, ReadError>(ControlFlow::Continue(()))
    })?;
    let databases: DatabaseMap = namespaces.into_iter().map(Database::new).collect();
    let end = successor(COUNTER_PREFIX);
    view.scan(Family::System, COUNTER_PREFIX, &end, Direction::Up, |row, value| {
        if let (Some((namespace, writer)), Ok(count)) = (split_counter_row(row), Count::decode(value))
            && let Some(database) = databases.iter().find(|database| database.namespace() == namespace)
        {
            database.set_count(Writer(writer), count);
        }
        Ok::<_, ReadError>(ControlFlow::Continue(()))
    })?;
    Ok(databases)
}

fn read_dead(view: &View<'_>, store: &Store, gc: &gc::Progress) -> Result<(), OpenError> {
    view.scan(Family::Gc, b"", &[u8::MAX], Direction::Up, |row, value| {
        // A reopened database is read by others before this: what they build is not dead.
        if let Ok(GcRow::Collection(dead)) = GcRow::decode(row, value)
            && !gc.is_being_built(dead.place.version)
        {
            store.dead().insert(dead.place.version, 0);
        }
        Ok::<_, ReadError>(ControlFlow::Continue(()))
    })?;
    Ok(())
}
