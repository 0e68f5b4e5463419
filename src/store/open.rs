//! Opening RocksDB: the options of the database and of each column family, and what survives a reopen (block cache,
//! memtable budget, dead set, filter of rows).

use super::dead::{DeadFilterFactory, DeadSet};
use super::faults::Faults;
use super::handle::Db;
use super::memtables::Memtables;
use super::row_filter::RowFilter;
use super::{Store, Unavailable};
use crate::base::priority::make_nice;
use crate::encoding::Family;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, Env, LogLevel, LruCacheOptions, Options, WriteBufferManager,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a store needs to know before it opens.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Bytes for cached blocks, indexes and filters.
    pub block_cache_bytes: usize,
    /// Bytes for all memtables together.
    pub write_buffer_bytes: usize,
    /// The log is cut (memtables flushed) when it grows past this.
    pub wal_bytes_max: u64,
    /// Table files RocksDB may keep open; -1 for all. The server derives it from what the system grants.
    pub open_files_max: i32,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            block_cache_bytes: 256 << 20,
            write_buffer_bytes: 128 << 20,
            wal_bytes_max: 256 << 20,
            open_files_max: -1,
        }
    }
}

/// What outlives one handle.
pub(super) struct Shared {
    cache: parking_lot::Mutex<Cache>,
    write_buffers: WriteBufferManager,
    pub(super) dead: Arc<DeadSet>,
    pub(super) row_filter: Arc<RowFilter>,
    capacity: AtomicUsize,
}

/// A block cache is parted in at most 64, and into parts of at least this many bytes. What is larger than a part is not cached at all, so
/// filters and indexes that can become large are cut into blocks. Many parts and small blocks also keep threads out of each other's way:
/// each part has one lock, which every SET of a new key takes some ten times, and with few parts a worker met a compaction
/// there that had lost its processor.
const CACHE_PART_BYTES_MIN: usize = 1 << 20;

/// The filter of rows may take one part in so many of what the block cache may.
const ROW_FILTER_PART: usize = 16;

fn new_cache(bytes: usize) -> Cache {
    let parts = (bytes / CACHE_PART_BYTES_MIN).clamp(1, 64);
    let mut options = LruCacheOptions::default();
    options.set_capacity(bytes);
    options.set_num_shard_bits(parts.ilog2() as i32);
    Cache::new_lru_cache_opts(&options)
}

impl Shared {
    pub(super) fn new(options: &StoreOptions) -> Shared {
        Shared {
            cache: parking_lot::Mutex::new(new_cache(options.block_cache_bytes)),
            write_buffers: WriteBufferManager::new_write_buffer_manager(options.write_buffer_bytes, false),
            dead: Arc::new(DeadSet::default()),
            row_filter: Arc::new(RowFilter::new(options.block_cache_bytes / ROW_FILTER_PART)),
            capacity: options.block_cache_bytes.into(),
        }
    }

    pub(super) fn block_cache_bytes(&self) -> (usize, usize) {
        (self.cache.lock().get_usage(), self.capacity.load(Relaxed))
    }

    pub(super) fn memtable_bytes(&self) -> usize {
        self.write_buffers.get_usage()
    }

    pub(super) fn set_block_cache_budget(&self, bytes: usize) {
        self.capacity.store(bytes, Relaxed);
        self.cache.lock().set_capacity(bytes);
    }

    pub(super) fn set_budgets(&self, block_cache_bytes: usize, write_buffer_bytes: usize) {
        self.write_buffers.set_buffer_size(write_buffer_bytes);
        self.row_filter.set_budget(block_cache_bytes / ROW_FILTER_PART);
    }

    pub(super) fn empty_block_cache(&self) {
        let mut cache = self.cache.lock();
        cache.set_capacity(0);
        cache.set_capacity(self.capacity.load(Relaxed));
    }
}

/// Bits a row in a Bloom filter. Every SET of a new key asks the filters of some ten files; one false answer costs a read on the
/// pool, so one in a thousand (10 bits) is too many: at 10 bits one SET in a hundred was cold, at 16 one in some thousands.
const BLOOM_BITS: f64 = 16.0;

/// The part of a memtable that its Bloom filter is: some 15 bits a row. The filters of all memtables stay in the processor's caches so; a false
/// answer costs a search of the skip list.
const MEMTABLE_BLOOM_RATIO: f64 = 0.02;

/// How nice RocksDB's threads are.
const FLUSH_NICE: i32 = 5;
const COMPACTION_NICE: i32 = 10;

pub(super) fn open_db(
    path: &Path,
    options: &StoreOptions,
    shared: &Shared,
    faults: Arc<Faults>,
    read_only: bool,
) -> Result<Db, Unavailable> {
    refuse_remains(path)?;
    let database = database_options(options, shared);
    let families: Vec<_> = Family::ALL
        .iter()
        .map(|&family| ColumnFamilyDescriptor::new(family.name(), family_options(family, options, shared)))
        .collect();
    let opened = if read_only {
        DB::open_cf_descriptors_read_only(&database, path, families, false)
    } else {
        DB::open_cf_descriptors(&database, path, families)
    };
    let db = opened.map_err(|error| Unavailable(error.into_string()))?;
    // Its threads are there now. They are nice to the workers, but must keep up with them in the long run.
    make_nice("rocksdb:high", FLUSH_NICE);
    make_nice("rocksdb:low", COMPACTION_NICE);
    let (dead, row_filter) = (Arc::clone(&shared.dead), Arc::clone(&shared.row_filter));
    let gathered = Family::ALL.map(|family| Memtables::of(family, options.write_buffer_bytes).merged);
    Db::new(db, read_only, faults, dead, row_filter, gathered).map_err(Unavailable)
}

/// Refuses a folder that holds files of a database but not `CURRENT`, which names its state: part of a copy, say. RocksDB would make
/// a new database there and remove the files.
fn refuse_remains(path: &Path) -> Result<(), Unavailable> {
    // What a first start leaves that was killed has neither: they are made after CURRENT.
    let is_data = |path: &Path| path.extension().is_some_and(|end| end == "sst" || end == "log");
    let Ok(files) = std::fs::read_dir(path) else { return Ok(()) };
    let data = files.flatten().map(|file| file.path()).find(|path| is_data(path));
    match data.filter(|_| !path.join("CURRENT").exists()) {
        None => Ok(()),
        Some(file) => {
            let name = file.file_name().unwrap_or_default().display();
            Err(Unavailable(format!(
                "there is {name} but no CURRENT: files of a database are missing, and nothing was touched"
            )))
        }
    }
}

fn database_options(options: &StoreOptions, shared: &Shared) -> Options {
    let mut database = Options::default();
    // Workers do not wait for the file system when a memtable is full or the log grows: the next log is made before it is needed, and
    // space is found for it by who brings it to the disk.
    match database.get_options_from_string("async_wal_precreate=true; allow_fallocate=false") {
        Ok(options) => database = options,
        Err(error) => tracing::warn!(%error, "RocksDB does not know how to make logs ahead of time"),
    }
    // One thread flushes (`set_max_background_jobs`), and one is free to make logs meanwhile.
    match Env::new() {
        Ok(mut env) => {
            env.set_high_priority_background_threads(2);
            database.set_env(&env);
        }
        Err(error) => tracing::warn!(%error, "RocksDB's threads stay as they are"),
    }
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    // One write(2) per burst: the log is flushed by hand.
    database.set_manual_wal_flush(true);
    database.set_writable_file_max_buffer_size(4 << 20);
    database.set_max_total_wal_size(options.wal_bytes_max);
    // A kill can cut the log's last record; whatever comes before is intact. A hole in the middle is damage and is refused.
    database.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // Two workers that write at once: the second one sleeps until the first has written for both. Yielding its processor instead
    // costs milliseconds when others want that.
    database.set_enable_write_thread_adaptive_yield(false);
    // What RocksDB says of each memtable would be written to its log file by workers.
    database.set_log_level(LogLevel::Warn);
    database.set_write_buffer_manager(&shared.write_buffers);
    database.set_max_open_files(options.open_files_max);
    // One thread for flushing and one for compacting.
    database.set_max_background_jobs(2);
    database.set_avoid_unnecessary_blocking_io(true);
    database.set_bytes_per_sync(1 << 20);
    database.set_keep_log_file_num(4);
    database.set_max_log_file_size(16 << 20);
    database.set_stats_dump_period_sec(0);
    database.set_stats_persist_period_sec(0);
    database.set_skip_stats_update_on_db_open(true);
    database
}

fn family_options(family: Family, options: &StoreOptions, shared: &Shared) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&shared.cache.lock());
    table.set_block_size(4 << 10);
    table.set_format_version(6);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    match family {
        // Whole: a SET of a new key asks the filter of every file.
        Family::Keys => table.set_bloom_filter(BLOOM_BITS, false),
        Family::Hash | Family::Set | Family::Member | Family::Group => {
            table.set_bloom_filter(BLOOM_BITS, false);
            // A filter of small rows is large: in pieces, only those in use need memory.
            table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
            table.set_partition_filters(true);
            table.set_pin_top_level_index_and_filter(true);
        }
        Family::Chunk => table.set_block_size(32 << 10),
        _ => {}
    }
    let mut column = Options::default();
    column.set_block_based_table_factory(&table);
    let memtables = Memtables::of(family, options.write_buffer_bytes);
    column.set_write_buffer_size(memtables.bytes);
    column.set_min_write_buffer_number_to_merge(memtables.merged as i32);
    column.set_max_write_buffer_number(memtables.most());
    if family.has_filter() {
        // Who looks for a row in the files asks every memtable for it first: a Bloom filter answers for the skip list.
        column.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
        column.set_memtable_whole_key_filtering(true);
    }
    // With eight, rows written anew cost a tenth less, but where the data is larger than memory writes stall for half a second.
    column.set_level_zero_file_num_compaction_trigger(4);
    column.set_level_zero_slowdown_writes_trigger(20);
    column.set_level_zero_stop_writes_trigger(36);
    column.set_level_compaction_dynamic_level_bytes(true);
    column.set_target_file_size_base(32 << 20);
    column.set_compression_per_level(&[
        DBCompressionType::None,
        DBCompressionType::None,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Zstd,
    ]);
    // Queues delete at the front and append at the end: compact files full of tombstones early.
    column.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
    if family.holds_elements() {
        column.set_compaction_filter_factory(DeadFilterFactory(Arc::clone(&shared.dead)));
    }
    column
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, Tier};

    #[test]
    fn a_folder_from_before_a_family_opens_and_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let old: Vec<_> = Family::ALL.iter().take(10).map(|family| family.name()).collect();
        let db = DB::open_cf(&options, folder.path(), old).unwrap();
        db.put_cf(db.cf_handle("keys").unwrap(), b"k", b"v").unwrap();
        drop(db);
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        store
            .with_db(|db| {
                let mut batch = Batch::default();
                batch.put(db, Family::Stream, b"row", b"new");
                store.write(db, batch, true).unwrap();
                let view = db.newest(Tier::Disk);
                assert_eq!(view.get(Family::Keys, b"k").unwrap().as_deref(), Some(&b"v"[..]));
                assert_eq!(view.get(Family::Stream, b"row").unwrap().as_deref(), Some(&b"new"[..]));
            })
            .unwrap();
    }

    #[test]
    fn a_compaction_drops_the_rows_of_a_dead_collection_and_no_others() {
        use crate::encoding::row::{Namespace, Place, Version};
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        let place = |version| Place { namespace: Namespace(0), slot: 0, version: Version(version) };
        let [dead, alive] = [1, 2].map(|version| place(version).index_row(7));
        let write = |row: &[u8]| {
            store
                .with_db(|db| {
                    let mut batch = Batch::default();
                    batch.put(db, Family::Hash, row, b"value");
                    store.write(db, batch, true).unwrap()
                })
                .unwrap()
        };
        let is_there = |row: &[u8]| {
            let found = store.with_db(|db| db.newest(Tier::Disk).get(Family::Hash, row));
            found.unwrap().unwrap().is_some()
        };
        let died = write(&dead);
        store.sync_wal().unwrap();
        store.dead().insert(Version(1), died);
        let began = std::time::Instant::now();
        while is_there(&dead) {
            assert!(began.elapsed().as_secs() < 60, "no compaction has dropped it");
            write(&alive);
            store.flush_memtables().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(is_there(&alive));
    }

    #[test]
    fn part_of_a_database_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Store::open(folder.path(), StoreOptions::default());
        // A first start that was killed.
        std::fs::write(folder.path().join("MANIFEST-000001"), b"").unwrap();
        drop(open().unwrap());
        for file in ["CURRENT", "000008.sst"] {
            assert!(std::fs::exists(folder.path().join("CURRENT")).unwrap(), "{file}");
        }
        std::fs::remove_file(folder.path().join("CURRENT")).unwrap();
        for file in ["000099.sst", "000098.log"] {
            let file = folder.path().join(file);
            std::fs::write(&file, b"rows").unwrap();
            let refused = open().err().unwrap().to_string();
            assert!(refused.contains("but no CURRENT"), "{refused}");
            assert_eq!(std::fs::read(&file).unwrap(), b"rows");
        }
    }

    #[test]
    fn a_read_that_has_been_warmed_is_in_memory_however_large_the_filter() {
        // So many short rows in one file that its filter (16 bits a row) is larger than a shard of a 16 MB cache used to be.
        const ROWS: u32 = 400_000;
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            block_cache_bytes: 16 << 20,
            write_buffer_bytes: 512 << 20,
            ..StoreOptions::default()
        };
        let store = Store::open(folder.path(), options).unwrap();
        store
            .with_db(|db| {
                for first in (0..ROWS).step_by(10_000) {
                    let mut batch = Batch::default();
                    for row in first..first + 10_000 {
                        batch.put(db, Family::Set, &row.to_be_bytes(), b"");
                    }
                    store.write(db, batch, true).unwrap();
                }
                db.flush_memtables().unwrap();
                for row in [0, 1, ROWS / 2, ROWS - 1, ROWS, u32::MAX] {
                    let found = db.newest(Tier::Disk).get(Family::Set, &row.to_be_bytes()).unwrap().is_some();
                    assert_eq!(found, row < ROWS);
                    let warm = db.newest(Tier::Memory).get(Family::Set, &row.to_be_bytes());
                    assert_eq!(warm.map(|row| row.is_some()).ok(), Some(found), "row {row} is cold again");
                }
            })
            .unwrap();
    }
}
