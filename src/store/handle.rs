//! An open RocksDB: point reads, scans, snapshots, batches. The place of the store's `unsafe`: the column family handles
//! are kept beside the database they belong to, which the borrow checker cannot express.
#![allow(unsafe_code)]

use super::dead::DeadSet;
use super::faults::Faults;
use super::row_filter::{RowFilter, Rows};
use super::{ReadError, Tier, WriteError};
use crate::encoding::Family;
use rocksdb::{ColumnFamily, DB, ErrorKind, FlushOptions, ReadOptions, ReadTier, WriteBatch, WriteOptions};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Levels of a column family.
pub const LEVELS: usize = 7;

/// So many removed rows one after the other a scan of the memory tier goes past, some milliseconds at most: what has been removed is
/// there until it is compacted.
const REMOVED_ROWS_MAX: u64 = 2_000;

/// One open database.
pub struct Db {
    /// Borrowed from `db`, which never opens or drops a family after this, and dropped before it (fields drop in order).
    families: [&'static ColumnFamily; Family::ALL.len()],
    memory_read: ReadOptions,
    disk_read: ReadOptions,
    quick_write: WriteOptions,
    patient_write: WriteOptions,
    read_only: bool,
    faults: Arc<Faults>,
    dead: Arc<DeadSet>,
    row_filter: Arc<RowFilter>,
    /// How many memtables of each family wait for one another.
    gathered: [u64; Family::ALL.len()],
    is_given_up: AtomicBool,
    db: DB,
}

/// Rows to be written together, whole or not at all.
#[derive(Default)]
pub struct Batch {
    rows: WriteBatch,
    /// The filter that knows them, until they are written.
    filter: Option<Arc<Rows>>,
}

impl Batch {
    /// Bytes of all its rows.
    pub(super) fn bytes(&self) -> usize {
        self.rows.size_in_bytes()
    }
}

/// What a scan's visitor says after each row.
pub type Visit<E> = Result<ControlFlow<()>, E>;

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the lower bound up.
    Up,
    /// From the upper bound down.
    Down,
}

/// The database as of one moment. Known to the dead set as long as it is open.
pub struct Snapshot<'d> {
    inner: rocksdb::Snapshot<'d>,
    sequence: u64,
    dead: &'d DeadSet,
}

/// What a read sees: the newest state, or a snapshot; and how far it may go.
#[derive(Clone, Copy)]
pub struct View<'d> {
    /// The open database.
    pub db: &'d Db,
    /// The moment to read, if not the newest.
    pub snapshot: Option<&'d Snapshot<'d>>,
    /// How far a read may go.
    pub tier: Tier,
}

impl Db {
    pub(super) fn new(
        db: DB,
        read_only: bool,
        faults: Arc<Faults>,
        dead: Arc<DeadSet>,
        row_filter: Arc<RowFilter>,
        gathered: [u64; Family::ALL.len()],
    ) -> Result<Db, String> {
        let mut families = Vec::with_capacity(Family::ALL.len());
        for family in Family::ALL {
            let handle =
                db.cf_handle(family.name()).ok_or_else(|| format!("no column family {}", family.name()))?;
            // SAFETY: the handle lives in `db`'s map until `db` is dropped; `Db` hands it out for no longer than a borrow of
            // itself, and drops `families` before `db`. Moving `db` moves the map's root, not its nodes.
            families.push(unsafe { std::mem::transmute::<&ColumnFamily, &'static ColumnFamily>(handle) });
        }
        let families = families.try_into().map_err(|_| "column families went missing".to_owned())?;
        let mut memory_read = ReadOptions::default();
        memory_read.set_read_tier(ReadTier::BlockCache);
        let mut quick_write = WriteOptions::default();
        quick_write.set_no_slowdown(true);
        Ok(Db {
            families,
            memory_read,
            disk_read: ReadOptions::default(),
            quick_write,
            patient_write: WriteOptions::default(),
            read_only,
            faults,
            dead,
            row_filter,
            gathered,
            is_given_up: AtomicBool::new(false),
            db,
        })
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.families[family as usize]
    }

    /// True when the handle was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether there is a row; its value is read, from the disk if need be, and not copied.
    pub(super) fn has(&self, family: Family, row: &[u8]) -> Result<bool, ReadError> {
        let value = self.db.get_pinned_cf_opt(self.family(family), row, &self.disk_read);
        value.map(|value| value.is_some()).map_err(|error| ReadError::Failed(error.into_string()))
    }

    /// Reads the newest state of a row that is probably not in memory, and a sequence: every commit up to it has been seen.
    /// Its block goes into the block cache: a read that keeps nothing would not keep the file's index and filter either.
    #[expect(clippy::type_complexity, reason = "a row and its sequence")]
    pub fn read_cold(&self, family: Family, row: &[u8]) -> Result<(Option<Arc<[u8]>>, u64), ReadError> {
        let sequence = self.latest_sequence();
        let view = self.newest(Tier::Disk);
        if self.faults.delays_reads() {
            // Slowly, as a test wants it, but only if it really is on disk.
            return Ok((view.get(family, row)?, sequence));
        }
        Ok((view.get_with(family, row, &self.disk_read)?, sequence))
    }

    /// Goes over the keys of a family's rows, from one on, as long as `visit` says so. Waits for the disk, and keeps nothing of what it
    /// reads in memory.
    pub(super) fn walk(
        &self,
        family: Family,
        from: &[u8],
        mut visit: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mut rows = self.db.raw_iterator_cf_opt(self.family(family), options);
        rows.seek(from);
        while rows.key().is_some_and(&mut visit) {
            rows.next();
        }
        rows.status().map_err(read_error)
    }

    /// The sequence of the newest row.
    pub fn latest_sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// The newest state, as far as `tier` reaches.
    pub fn newest(&self, tier: Tier) -> View<'_> {
        View { db: self, snapshot: None, tier }
    }

    /// Opens a snapshot.
    pub fn snapshot(&self) -> Snapshot<'_> {
        // Announced before it is taken, under a sequence that is not above its own: the dead set errs to the safe side.
        let sequence = self.latest_sequence();
        self.dead.snapshot_opened(sequence);
        Snapshot { inner: self.db.snapshot(), sequence, dead: &self.dead }
    }

    pub(super) fn write(&self, batch: Batch, wait: bool) -> Result<u64, WriteError> {
        if !wait && (self.faults.takes_stall() || self.faults.stops_writes()) {
            return Err(WriteError::Stalled);
        }
        while self.faults.stops_writes() {
            if self.is_given_up.load(Ordering::Acquire) {
                return Err(WriteError::Failed("Shutdown in progress (injected)".to_owned()));
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if self.faults.takes_write_failure() {
            return Err(WriteError::Failed("IO error: No space left on device (injected)".to_owned()));
        }
        let options = if wait { &self.patient_write } else { &self.quick_write };
        // The filter's pass over the rows waits until no batch is left that has not told it of its rows.
        let Batch { rows, filter: _until_written } = batch;
        match self.db.write_opt(rows, options) {
            Ok(()) => Ok(self.latest_sequence()),
            // Incomplete can also wrap a background error: only the stall itself is worth another try.
            Err(error) if error.kind() == ErrorKind::Incomplete && error.as_ref().contains("Write stall") => {
                Err(WriteError::Stalled)
            }
            Err(error) => Err(WriteError::Failed(error.into_string())),
        }
    }

    pub(super) fn flush_wal(&self, sync: bool) -> Result<(), String> {
        if self.faults.wal_fails() {
            return Err("IO error: No space left on device (injected)".to_owned());
        }
        self.db.flush_wal(sync).map_err(|error| error.into_string())
    }

    pub(super) fn flush_memtables(&self) -> Result<(), String> {
        let families = self.families;
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(|error| error.into_string())
    }

    /// Memtables of `keys` are so large from the next one on.
    pub(super) fn set_key_memtable_bytes(&self, bytes: usize) -> Result<(), String> {
        let bytes = bytes.to_string();
        let set = self.db.set_options_cf(self.family(Family::Keys), &[("write_buffer_size", bytes.as_str())]);
        set.map_err(|error| error.into_string())
    }

    /// Begins to make a file of the memtables of `keys`.
    pub(super) fn begin_flush_of_keys(&self) -> Result<(), String> {
        let mut options = FlushOptions::default();
        options.set_wait(false);
        let begun = self.db.flush_cf_opt(self.family(Family::Keys), &options);
        begun.map_err(|error| error.into_string())
    }

    pub(super) fn checkpoint(&self, path: &Path) -> Result<(), String> {
        let checkpoint =
            rocksdb::checkpoint::Checkpoint::new(&self.db).map_err(|error| error.into_string())?;
        checkpoint.create_checkpoint(path).map_err(|error| error.into_string())
    }

    /// An integer property of RocksDB (its name without the prefix), summed over the families.
    pub fn property(&self, name: &str) -> u64 {
        Family::ALL.into_iter().map(|family| self.family_property(family, name)).sum()
    }

    /// An integer property of one family; one of the whole database is answered by any family.
    pub fn family_property(&self, family: Family, name: &str) -> u64 {
        let name = format!("rocksdb.{name}");
        self.db.property_int_value_cf(self.family(family), &name).ok().flatten().unwrap_or(0)
    }

    /// Whether RocksDB takes no writes at all: some family has too many files on level 0, or memtables, and must compact or flush first.
    pub(super) fn is_stopped(&self) -> bool {
        self.faults.stops_writes() || self.family_property(Family::Keys, "is-write-stopped") > 0
    }

    /// Whether a flush or a compaction of this opening has failed.
    pub(super) fn has_failed_behind(&self) -> bool {
        self.faults.stops_writes() || self.family_property(Family::Keys, "background-errors") > 0
    }

    /// The handle is about to be closed: who waits in it for room to write is told that there will be none.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Release);
        self.db.cancel_all_background_work(false);
    }

    /// Whether some family has filled memtables while those of one flush wait already, has at least so many files on level 0, or
    /// writes are slowed down.
    pub(super) fn is_behind(&self, level_0_files_max: u64) -> bool {
        let slowed = ["is-write-stopped", "actual-delayed-write-rate"];
        slowed.iter().any(|name| self.family_property(Family::Keys, name) > 0)
            || Family::ALL.into_iter().any(|family| {
                self.family_property(family, "num-immutable-mem-table") > self.gathered[family as usize]
                    || self.family_level_0_files(family) >= level_0_files_max
            })
    }

    fn family_level_0_files(&self, family: Family) -> u64 {
        let text = self.db.property_value_cf(self.family(family), "rocksdb.num-files-at-level0");
        text.ok().flatten().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Table files on each level, summed over the families.
    pub fn level_files(&self) -> [u64; LEVELS] {
        std::array::from_fn(|level| {
            let name = format!("rocksdb.num-files-at-level{level}");
            let text = |family| self.db.property_value_cf(self.family(family), &name).ok().flatten();
            Family::ALL.into_iter().filter_map(|family| text(family)?.parse::<u64>().ok()).sum()
        })
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        self.dead.snapshot_closed(self.sequence);
    }
}

impl Snapshot<'_> {
    /// The newest sequence that is visible in it: all up to it is, and nothing after.
    pub fn sequence(&self) -> u64 {
        self.inner.sequence_number()
    }
}

impl View<'_> {
    /// Reads one row.
    pub fn get(&self, family: Family, row: &[u8]) -> Result<Option<Arc<[u8]>>, ReadError> {
        if self.tier == Tier::Memory && self.db.faults.takes_cold() {
            return Err(ReadError::Cold);
        }
        if self.db.row_filter.lacks(family, row) {
            return Ok(None);
        }
        let memory = match self.snapshot {
            None => self.get_with(family, row, &self.db.memory_read),
            Some(_) => self.get_with(family, row, &self.read_options(Tier::Memory)),
        };
        match (memory, self.tier) {
            (Err(ReadError::Cold), Tier::Disk) => {
                self.db.faults.on_disk_read();
                match self.snapshot {
                    None => self.get_with(family, row, &self.db.disk_read),
                    Some(_) => self.get_with(family, row, &self.read_options(Tier::Disk)),
                }
            }
            (answer, _) => answer,
        }
    }

    fn get_with(
        &self,
        family: Family,
        row: &[u8],
        options: &ReadOptions,
    ) -> Result<Option<Arc<[u8]>>, ReadError> {
        match self.db.db.get_pinned_cf_opt(self.db.family(family), row, options) {
            Ok(found) => Ok(found.map(|slice| Arc::from(&*slice))),
            Err(error) => Err(read_error(error)),
        }
    }

    fn read_options(&self, tier: Tier) -> ReadOptions {
        let mut options = ReadOptions::default();
        if tier == Tier::Memory {
            options.set_read_tier(ReadTier::BlockCache);
        }
        if let Some(snapshot) = self.snapshot {
            options.set_snapshot(&snapshot.inner);
        }
        options
    }

    /// Visits the rows from `lower` (included) to `upper` (excluded) until the visitor breaks. A scan that would touch the disk
    /// on the memory tier, or go past thousands of removed rows there, ends with `Cold`, rows already visited or not.
    pub fn scan<E: From<ReadError>>(
        &self,
        family: Family,
        lower: &[u8],
        upper: &[u8],
        direction: Direction,
        mut visit: impl FnMut(&[u8], &[u8]) -> Visit<E>,
    ) -> Result<(), E> {
        if self.tier == Tier::Memory && self.db.faults.takes_cold() {
            return Err(ReadError::Cold.into());
        }
        let mut options = self.read_options(self.tier);
        options.set_iterate_upper_bound(upper);
        options.set_iterate_lower_bound(lower);
        options.set_background_purge_on_iterator_cleanup(true);
        if self.tier == Tier::Memory {
            options.set_max_skippable_internal_keys(REMOVED_ROWS_MAX);
        }
        let mut rows = self.db.db.raw_iterator_cf_opt(self.db.family(family), options);
        match direction {
            Direction::Up => rows.seek_to_first(),
            Direction::Down => rows.seek_to_last(),
        }
        while let Some((key, value)) = rows.item() {
            if visit(key, value)?.is_break() {
                return Ok(());
            }
            match direction {
                Direction::Up => rows.next(),
                Direction::Down => rows.prev(),
            }
        }
        rows.status().map_err(|error| E::from(read_error(error)))
    }
}

fn read_error(error: rocksdb::Error) -> ReadError {
    match error.kind() {
        ErrorKind::Incomplete => ReadError::Cold,
        _ => ReadError::Failed(error.into_string()),
    }
}

impl Batch {
    /// Sets a row.
    pub fn put(&mut self, db: &Db, family: Family, row: &[u8], value: &[u8]) {
        if family.has_filter() {
            self.filter.get_or_insert_with(|| db.row_filter.rows()).add(family, row);
        }
        self.rows.put_cf(db.family(family), row, value);
    }

    /// Sets a row that is there: the filter of rows has it.
    pub fn replace(&mut self, db: &Db, family: Family, row: &[u8], value: &[u8]) {
        // Where this were not so, a row that is there would not be found. Unit tests run optimized, so they are named apart.
        #[cfg(any(test, debug_assertions))]
        assert!(!db.row_filter.lacks(family, row), "{family:?}: {row:?} was never put");
        self.rows.put_cf(db.family(family), row, value);
    }

    /// Removes a row.
    pub fn delete(&mut self, db: &Db, family: Family, row: &[u8]) {
        self.rows.delete_cf(db.family(family), row);
    }

    /// Removes all rows from `lower` (included) to `upper` (excluded).
    pub fn delete_range(&mut self, db: &Db, family: Family, lower: &[u8], upper: &[u8]) {
        self.rows.delete_range_cf(db.family(family), lower, upper);
    }

    /// Rows in the batch.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when it would write nothing.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
