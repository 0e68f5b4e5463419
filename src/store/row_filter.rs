//! A filter of the rows there are, in memory. Who asks for a row that never was gets the answer here, without RocksDB, which would
//! look into every memtable and ask the filter of every file: a fifth of what a SET of a new key costs.
//!
//! **It may hold a row that is not there, and lacks none that is.** Rows that are not known to be there are added when they are put into a batch, before
//! that is written, and none is ever removed. A new database's filter is *whole* from the start. Any other's is whole after a pass over the
//! rows, some milliseconds at a time, while batches add theirs; until then nobody asks it. A batch adds to the filter as it was at the batch's first
//! row. So the pass begins when no batch is left that knows an earlier one: what those have written it will see.
//!
//! The filter is a list of parts, each a Bloom filter whose bits for one row lie in one word. A part that is full is followed by a larger one,
//! up to a budget. Where that is used up, too, wrong answers become more, without harm, until the filter is no use any more
//! and is dropped. If there are fewer rows by then than it has been given (rows that are gone stay in it), it is filled anew.
//!
//! Threads: `tend` belongs to one thread at a time, and may wait for the disk. Everything else is for anybody.

use super::handle::Db;
use crate::encoding::Family;
use ahash::RandomState;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A new database's first part.
const FIRST_BYTES: usize = 1 << 20;
/// Each further part is so many times as large as the one before, if the budget allows.
const GROWTH: usize = 4;
/// Bits for each row in a part that is made for a known number of rows.
const ROW_BITS: u64 = 16;
/// With fewer than this nobody would learn anything from it.
const ROW_BITS_MIN: u64 = 4;
/// The share of bits set from which on a part is full (one answer in eighty is wrong), and from which on it is useless (one in three).
const FULL: f64 = 1.0 / 3.0;
const USELESS: f64 = 3.0 / 4.0;
/// Words looked at to find that share.
const SAMPLE: usize = 512;
/// How long a pass works at once, and how many rows it takes between two looks at the clock.
const SLICE: Duration = Duration::from_millis(10);
const SLICE_ROWS: usize = 64;
/// From one pass, or the finding that there are too many rows for one, to the next.
const REST: Duration = Duration::from_secs(60);

/// See the head of the file.
pub(super) struct RowFilter {
    rows: ArcSwap<Rows>,
    bytes_max: AtomicUsize,
    upkeep: Mutex<Upkeep>,
}

/// The filter as a batch knows it from its first row on.
pub(super) struct Rows {
    parts: Vec<Arc<Part>>,
    is_whole: bool,
    hasher: RandomState,
}

/// One Bloom filter.
struct Part(Box<[AtomicU64]>);

#[derive(Default)]
struct Upkeep {
    /// What the filter was, as long as a batch may know it.
    earlier: Vec<Arc<Rows>>,
    pass: Option<Pass>,
    rests_until: Option<Instant>,
    is_over: bool,
}

/// How far a pass over the rows has come.
#[derive(Default)]
struct Pass {
    families_done: usize,
    from: Vec<u8>,
}

impl RowFilter {
    /// A filter that knows nothing yet.
    pub(super) fn new(bytes_max: usize) -> RowFilter {
        let nothing = Rows { parts: Vec::new(), is_whole: false, hasher: RandomState::new() };
        RowFilter {
            rows: ArcSwap::from_pointee(nothing),
            bytes_max: bytes_max.into(),
            upkeep: Mutex::default(),
        }
    }

    /// Bytes it may take.
    pub(super) fn set_budget(&self, bytes: usize) {
        self.bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Bytes it takes, and whether it is whole.
    pub(super) fn figures(&self) -> (usize, bool) {
        let rows = self.rows.load();
        (rows.bytes(), rows.is_whole)
    }

    /// What a batch adds its rows to.
    pub(super) fn rows(&self) -> Arc<Rows> {
        self.rows.load_full()
    }

    /// True if there is certainly no such row, in the newest state and in any snapshot.
    pub(super) fn lacks(&self, family: Family, row: &[u8]) -> bool {
        if !family.has_filter() {
            return false;
        }
        let rows = self.rows.load();
        rows.is_whole && !rows.has(rows.hash(family, row))
    }

    /// The database has just been made: there are no rows.
    pub(super) fn begin_empty(&self) {
        let bytes = FIRST_BYTES.min(self.bytes_max.load(Ordering::Relaxed));
        self.turn_into(&mut self.upkeep.lock(), vec![Part::new(bytes)], true);
    }

    /// Drops the filter for good, so that a test meets RocksDB.
    pub(super) fn end(&self) {
        let mut upkeep = self.upkeep.lock();
        upkeep.is_over = true;
        self.drop_all(&mut upkeep);
    }

    /// Looks after it: lets it grow, drops it, or goes on with filling it. For some milliseconds.
    pub(super) fn tend(&self, db: &Db) {
        let mut upkeep = self.upkeep.lock();
        upkeep.earlier.retain(|rows| Arc::strong_count(rows) > 1);
        if upkeep.pass.is_some() {
            self.go_on(&mut upkeep, db);
            return;
        }
        let rows = self.rows.load_full();
        let room = self.bytes_max.load(Ordering::Relaxed).checked_sub(rows.bytes());
        match (rows.parts.last(), room) {
            (None, _) => self.begin_pass(&mut upkeep, db),
            (Some(_), None) => self.drop_all(&mut upkeep),
            (Some(last), Some(room)) => {
                let share = last.share_set();
                let next = (last.bytes() * GROWTH).min(room);
                if share > FULL && next >= last.bytes() {
                    let parts = rows.parts.iter().cloned().chain([Part::new(next)]).collect();
                    self.turn_into(&mut upkeep, parts, true);
                } else if share > USELESS {
                    self.drop_all(&mut upkeep);
                }
            }
        }
    }

    fn turn_into(&self, upkeep: &mut Upkeep, parts: Vec<Arc<Part>>, is_whole: bool) {
        let hasher = self.rows.load().hasher.clone();
        upkeep.earlier.push(self.rows.swap(Arc::new(Rows { parts, is_whole, hasher })));
    }

    fn drop_all(&self, upkeep: &mut Upkeep) {
        upkeep.pass = None;
        self.turn_into(upkeep, Vec::new(), false);
    }

    fn begin_pass(&self, upkeep: &mut Upkeep, db: &Db) {
        if upkeep.is_over || upkeep.rests_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let filtered = Family::ALL.into_iter().filter(|family| family.has_filter());
        let rows: u64 = filtered.map(|family| db.family_property(family, "estimate-num-keys")).sum();
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        upkeep.rests_until = Some(Instant::now() + REST);
        if rows * ROW_BITS_MIN / 8 > bytes_max as u64 {
            return;
        }
        let bytes = ((rows * ROW_BITS / 8) as usize).max(FIRST_BYTES).min(bytes_max);
        upkeep.pass = Some(Pass::default());
        self.turn_into(upkeep, vec![Part::new(bytes)], false);
    }

    fn go_on(&self, upkeep: &mut Upkeep, db: &Db) {
        let Some(pass) = upkeep.pass.as_mut().filter(|_| upkeep.earlier.is_empty()) else { return };
        let rows = self.rows.load_full();
        match pass.go_on(db, &rows) {
            Ok(false) => {}
            Ok(true) => {
                upkeep.pass = None;
                self.turn_into(upkeep, rows.parts.clone(), true);
            }
            Err(error) => {
                tracing::debug!(%error, "the filter of rows cannot be filled");
                self.drop_all(upkeep);
            }
        }
    }
}

impl Pass {
    /// True when it has been over all rows.
    fn go_on(&mut self, db: &Db, rows: &Rows) -> Result<bool, super::ReadError> {
        let ends = Instant::now() + SLICE;
        for family in Family::ALL.into_iter().filter(|family| family.has_filter()).skip(self.families_done) {
            let mut seen = 0;
            let mut stopped_at = None;
            db.walk(family, &self.from, |row| {
                rows.add(family, row);
                seen += 1;
                if seen % SLICE_ROWS == 0 && Instant::now() >= ends {
                    stopped_at = Some(row.to_vec());
                }
                stopped_at.is_none()
            })?;
            if let Some(row) = stopped_at {
                self.from = row;
                return Ok(false);
            }
            self.families_done += 1;
            self.from.clear();
        }
        Ok(true)
    }
}

impl Rows {
    /// Takes note that the row may be there from now on.
    pub(super) fn add(&self, family: Family, row: &[u8]) {
        let Some((last, others)) = self.parts.split_last() else { return };
        let hash = self.hash(family, row);
        if !others.iter().any(|part| part.has(hash)) {
            last.add(hash);
        }
    }

    fn has(&self, hash: u64) -> bool {
        self.parts.iter().any(|part| part.has(hash))
    }

    fn hash(&self, family: Family, row: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u8(family as u8);
        hasher.write(row);
        hasher.finish()
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes()).sum()
    }
}

impl Part {
    fn new(bytes: usize) -> Arc<Part> {
        Arc::new(Part((0..(bytes / 8).max(1)).map(|_| AtomicU64::new(0)).collect()))
    }

    fn bytes(&self) -> usize {
        self.0.len() * 8
    }

    /// A row's word, and its four bits there.
    fn place(&self, hash: u64) -> (&AtomicU64, u64) {
        let word = ((hash >> 32) * self.0.len() as u64) >> 32;
        let bits = [0, 6, 12, 18].iter().fold(0, |bits, shift| bits | 1 << ((hash >> shift) & 63));
        (&self.0[word as usize], bits)
    }

    fn add(&self, hash: u64) {
        let (word, bits) = self.place(hash);
        if word.load(Ordering::Relaxed) & bits != bits {
            word.fetch_or(bits, Ordering::Release);
        }
    }

    fn has(&self, hash: u64) -> bool {
        let (word, bits) = self.place(hash);
        word.load(Ordering::Acquire) & bits == bits
    }

    /// The share of its bits that are set, 0 to 1; of a large part's, some speak for all.
    fn share_set(&self) -> f64 {
        let step = self.0.len().div_ceil(SAMPLE);
        let (mut words, mut ones) = (0, 0);
        for word in self.0.iter().step_by(step) {
            words += 1;
            ones += word.load(Ordering::Relaxed).count_ones();
        }
        f64::from(ones) / f64::from(words * u64::BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, Store, StoreOptions};
    use super::*;

    fn open(folder: &tempfile::TempDir, filter_bytes: usize) -> Store {
        let options = StoreOptions { block_cache_bytes: filter_bytes * 16, ..StoreOptions::default() };
        Store::open(folder.path(), options).unwrap()
    }

    /// The database as it is after a restart, with rows from 0 to `rows`.
    fn reopened(folder: &tempfile::TempDir, rows: u32, filter_bytes: usize) -> Store {
        let store = open(folder, filter_bytes);
        write(&store, 0..rows);
        store.close().unwrap();
        drop(store);
        open(folder, filter_bytes)
    }

    fn batch(store: &Store, rows: std::ops::Range<u32>) -> Batch {
        let mut batch = Batch::default();
        store
            .with_db(|db| rows.for_each(|row| batch.put(db, Family::Hash, &row.to_be_bytes(), b"")))
            .unwrap();
        batch
    }

    fn write(store: &Store, rows: std::ops::Range<u32>) {
        let batch = batch(store, rows);
        store.with_db(|db| store.write(db, batch, true).unwrap()).unwrap();
    }

    fn lacks(store: &Store, row: u32) -> bool {
        store.shared.row_filter.lacks(Family::Hash, &row.to_be_bytes())
    }

    /// Of a thousand rows that are not there, those of which the filter says so.
    fn known_absent(store: &Store) -> usize {
        (u32::MAX - 1000..u32::MAX).filter(|&row| lacks(store, row)).count()
    }

    fn tend_until_whole(store: &Store) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) {
            store.tend_row_filter();
            if store.row_filter().1 {
                return;
            }
            // A writer with a batch from before may wait for a processor.
            std::thread::yield_now();
        }
        panic!("the filter is never whole");
    }

    #[test]
    fn a_new_database_has_all_its_rows_in_the_filter() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, 1 << 20);
        assert_eq!(known_absent(&store), 1000);
        write(&store, 0..1000);
        assert!((0..1000).all(|row| !lacks(&store, row)));
        assert!(known_absent(&store) > 990);
        // The same bytes in another family are another row, and a family without a filter is never answered for.
        assert!(store.shared.row_filter.lacks(Family::Set, &0u32.to_be_bytes()));
        assert!(!store.shared.row_filter.lacks(Family::Score, b"any"));
    }

    #[test]
    fn after_a_restart_it_answers_when_it_has_seen_all_rows() {
        let folder = tempfile::tempdir().unwrap();
        let store = reopened(&folder, 100_000, 1 << 20);
        assert_eq!((store.row_filter(), known_absent(&store)), ((0, false), 0));
        tend_until_whole(&store);
        assert!((0..100_000).all(|row| !lacks(&store, row)));
        assert!(known_absent(&store) > 980);
    }

    #[test]
    fn a_row_that_is_there_is_in_it_already() {
        let folder = tempfile::tempdir().unwrap();
        let store = reopened(&folder, 10, 1 << 20);
        let mut over = Batch::default();
        store
            .with_db(|db| {
                over.replace(db, Family::Hash, &3u32.to_be_bytes(), b"new");
                for _ in 0..100 {
                    store.tend_row_filter();
                }
                assert!(store.row_filter().1, "such a batch knows no filter, and no pass waits for it");
                store.write(db, over, true).unwrap();
            })
            .unwrap();
        assert!((0..10).all(|row| !lacks(&store, row)));
    }

    #[test]
    fn a_batch_from_before_a_pass_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = reopened(&folder, 10, 1 << 20);
        let early = batch(&store, 10..20);
        for _ in 0..100 {
            store.tend_row_filter();
        }
        assert!(!store.row_filter().1, "the pass would miss what the batch is about to write");
        store.with_db(|db| store.write(db, early, true).unwrap()).unwrap();
        tend_until_whole(&store);
        assert!((0..20).all(|row| !lacks(&store, row)));
    }

    #[test]
    fn rows_written_during_a_pass_are_in_it() {
        const WRITERS: u32 = 3;
        const EACH: u32 = 30_000;
        let folder = tempfile::tempdir().unwrap();
        let store = reopened(&folder, 100_000, 1 << 20);
        let first = |writer| 1_000_000 * (writer + 1);
        std::thread::scope(|threads| {
            for writer in 0..WRITERS {
                let store = &store;
                threads.spawn(move || {
                    for row in (first(writer)..first(writer) + EACH).step_by(10) {
                        write(store, row..row + 10);
                        assert!(!lacks(store, row), "row {row} is there and is not found");
                    }
                });
            }
            tend_until_whole(&store);
        });
        assert!((0..100_000).all(|row| !lacks(&store, row)));
        assert!((0..WRITERS).all(|writer| (0..EACH).all(|row| !lacks(&store, first(writer) + row))));
    }

    #[test]
    fn it_grows_up_to_its_budget_and_goes_when_it_is_useless() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, 96 << 10);
        let mut sizes = vec![store.row_filter().0];
        for rows in 0..100 {
            write(&store, 10_000 * rows..10_000 * (rows + 1));
            store.tend_row_filter();
            let (bytes, is_whole) = store.row_filter();
            if bytes == 0 {
                break;
            }
            assert!(is_whole && bytes <= 96 << 10, "{bytes}");
            assert!((0..10_000 * (rows + 1)).all(|row| !lacks(&store, row)));
            sizes.extend((sizes.last() != Some(&bytes)).then_some(bytes));
        }
        // Its first part takes the whole budget here.
        assert_eq!((sizes, store.row_filter()), (vec![96 << 10], (0, false)));
        // With a larger one it is filled anew, and grows in parts.
        store.set_budgets(64 << 20, 64 << 20);
        tend_until_whole(&store);
        let began_with = store.row_filter().0;
        assert!(known_absent(&store) > 900);
        for rows in 100..400 {
            write(&store, 10_000 * rows..10_000 * (rows + 1));
            store.tend_row_filter();
        }
        let (bytes, is_whole) = store.row_filter();
        assert!(is_whole && bytes > began_with && bytes <= 4 << 20, "{began_with} {bytes}");
        assert!([0, 1_500_000, 3_999_999].iter().all(|&row| !lacks(&store, row)));
        assert!(known_absent(&store) > 900);
        // A smaller one drops it.
        store.set_budgets(1 << 20, 64 << 20);
        store.tend_row_filter();
        assert_eq!(store.row_filter(), (0, false));
    }

    #[test]
    fn a_reopened_handle_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, 1 << 20);
        write(&store, 0..10);
        store.fail("a test");
        store.reopen(|| ()).unwrap();
        write(&store, 10..20);
        assert!((0..20).all(|row| !lacks(&store, row)));
        assert!(known_absent(&store) > 990);
    }
}
