//! Which collection versions are dead, for the compaction filter: the second reclaimer beside the `gc` worker.
//!
//! A filter does no reads. It looks at the version in a row's key and at this set, which the commit that kills a collection
//! extends and which is rebuilt from the `gc` family at start. Compaction filters ignore snapshots, so a filter drops only what
//! died before the oldest snapshot open when the compaction began, and nothing that died after it began: a snapshot opened
//! meanwhile might still see that alive. Nor does it drop what died in a batch that is not on stable storage yet: its rows would be
//! gone for good, and a crash could bring the collection back without them.

use crate::encoding::row::{PLACE_LEN, Place, Version};
use ahash::AHashMap;
use parking_lot::{Mutex, RwLock};
use rocksdb::compaction_filter::{CompactionFilter, Decision};
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The dead versions and the open snapshots.
#[derive(Debug, Default)]
pub struct DeadSet {
    deaths: RwLock<AHashMap<Version, u64>>,
    snapshots: Mutex<BTreeMap<u64, usize>>,
    /// Deaths up to this sequence outlive a crash.
    safe_until: AtomicU64,
}

impl DeadSet {
    /// A version died in a batch whose sequence was at most `sequence`.
    pub fn insert(&self, version: Version, sequence: u64) {
        self.deaths.write().insert(version, sequence);
    }

    /// A version's rows are all gone.
    pub fn forget(&self, version: Version) {
        self.deaths.write().remove(&version);
    }

    /// Nothing is known to be dead: a death may have been lost with the log, and what it killed is alive again.
    pub(super) fn clear(&self) {
        self.deaths.write().clear();
        self.safe_until.store(0, Ordering::Release);
    }

    /// The log is on stable storage up to this sequence.
    pub(super) fn synced(&self, sequence: u64) {
        self.safe_until.fetch_max(sequence, Ordering::AcqRel);
    }

    /// How many dead versions still have rows.
    pub fn len(&self) -> usize {
        self.deaths.read().len()
    }

    /// True when nothing waits for removal.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn snapshot_opened(&self, sequence: u64) {
        *self.snapshots.lock().entry(sequence).or_default() += 1;
    }

    pub(super) fn snapshot_closed(&self, sequence: u64) {
        let mut snapshots = self.snapshots.lock();
        if let Some(count) = snapshots.get_mut(&sequence) {
            *count -= 1;
            if *count == 0 {
                snapshots.remove(&sequence);
            }
        }
    }

    /// The rule for a compaction that begins now: what died at or before this sequence may go.
    fn droppable_until(&self) -> u64 {
        let newest_death = self.deaths.read().values().copied().max().unwrap_or(0);
        let until = newest_death.min(self.safe_until.load(Ordering::Acquire));
        match self.snapshots.lock().keys().next() {
            Some(&oldest) => until.min(oldest.saturating_sub(1)),
            None => until,
        }
    }

    fn is_droppable(&self, version: Version, until: u64) -> bool {
        self.deaths.read().get(&version).is_some_and(|&death| death <= until)
    }
}

pub(super) struct DeadFilterFactory(pub Arc<DeadSet>);

impl CompactionFilterFactory for DeadFilterFactory {
    type Filter = DeadFilter;

    fn create(&mut self, _context: CompactionFilterContext) -> DeadFilter {
        DeadFilter { until: self.0.droppable_until(), dead: Arc::clone(&self.0), last: None }
    }

    fn name(&self) -> &CStr {
        c"tuff-dead-versions"
    }
}

/// The filter of one compaction. Rows of one collection follow each other, so the set is asked once per collection.
pub(super) struct DeadFilter {
    dead: Arc<DeadSet>,
    until: u64,
    last: Option<([u8; PLACE_LEN], bool)>,
}

impl CompactionFilter for DeadFilter {
    fn filter(&mut self, _level: u32, key: &[u8], _value: &[u8]) -> Decision {
        let (Some(prefix), Some(place)) = (key.first_chunk::<PLACE_LEN>(), Place::read(key)) else {
            return Decision::Keep;
        };
        let drop = match self.last {
            Some((last, drop)) if last == *prefix => drop,
            _ => {
                let drop = self.dead.is_droppable(place.version, self.until);
                self.last = Some((*prefix, drop));
                drop
            }
        };
        if drop { Decision::Remove } else { Decision::Keep }
    }

    fn name(&self) -> &CStr {
        c"tuff-dead-versions"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_died_before_the_oldest_snapshot_is_droppable() {
        let dead = DeadSet::default();
        dead.insert(Version(1), 10);
        dead.insert(Version(2), 20);
        dead.synced(15);
        assert_eq!(dead.droppable_until(), 15, "a crash could bring version 2 back");
        dead.synced(100);
        assert_eq!(dead.droppable_until(), 20);
        dead.snapshot_opened(15);
        let until = dead.droppable_until();
        assert!(dead.is_droppable(Version(1), until) && !dead.is_droppable(Version(2), until));
        dead.snapshot_closed(15);
        let until = dead.droppable_until();
        assert!(dead.is_droppable(Version(2), until));
        dead.insert(Version(3), 30);
        assert!(!dead.is_droppable(Version(3), until), "it died after this compaction began");
    }

    #[test]
    fn the_store_tells_of_its_snapshots_and_of_what_is_on_stable_storage() {
        let folder = tempfile::tempdir().unwrap();
        let store = super::super::Store::open(folder.path(), Default::default()).unwrap();
        let kill = |version| {
            let write = |db: &super::super::Db| {
                let mut batch = super::super::Batch::default();
                batch.put(db, crate::encoding::Family::Gc, b"row", b"");
                store.write(db, batch, true).unwrap()
            };
            let sequence = store.with_db(write).unwrap();
            store.dead().insert(Version(version), sequence);
            sequence
        };
        let first = kill(1);
        assert!(store.dead().droppable_until() < first, "it is not synced yet");
        store.sync_wal().unwrap();
        let second = kill(2);
        assert_eq!(store.dead().droppable_until(), first);
        store.sync_wal().unwrap();
        assert_eq!(store.dead().droppable_until(), second);
        let beside_a_snapshot = store.with_db(|db| {
            let _snapshot = db.snapshot();
            store.dead().droppable_until()
        });
        assert!(beside_a_snapshot.unwrap() < second);
        assert_eq!(store.dead().droppable_until(), second);
    }

    #[test]
    fn a_filter_drops_the_rows_of_dead_versions_only() {
        let dead = Arc::new(DeadSet::default());
        dead.insert(Version(1), 10);
        dead.synced(10);
        let mut filter = DeadFilter { until: dead.droppable_until(), dead, last: None };
        let place =
            |version| Place { namespace: super::super::super::encoding::row::Namespace(0), slot: 0, version };
        assert!(matches!(filter.filter(0, &place(Version(1)).index_row(1), b""), Decision::Remove));
        assert!(matches!(filter.filter(0, &place(Version(2)).index_row(1), b""), Decision::Keep));
        assert!(matches!(filter.filter(0, b"short", b""), Decision::Keep));
    }
}
