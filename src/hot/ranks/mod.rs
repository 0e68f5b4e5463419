//! Rank indexes: decoded helpers that live in the hot tier beside the rows and are charged to its budget.
//!
//! One [`RankIndex`] (see `index`) per name, the name being the bytes that all rows of its collection begin with. They take a quarter of the
//! tier's budget at most; beyond, the one unused for the longest goes. What they take is kept back from the rows' share.
//!
//! Who may change an index is the caller's affair: commits, and readers that no commit can race, as with every row of the tier. An index
//! that was evicted while somebody works with it is simply not found by the next.
//!
//! Lock rule: the list has one mutex, held for a probe; each index has its own, held for one question or change. Never two at a time,
//! and neither while a shard's is held.

mod index;
#[cfg(test)]
mod tests;

pub use index::{Change, Found, Lost, Pieces, RankIndex, Suffix};

use ahash::RandomState;
use lru::LruCache;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// What an index is known by. The first byte names the kind of its rows.
pub type Name = SmallVec<[u8; 16]>;

/// An index as it is handed out.
pub type SharedIndex = Arc<Mutex<RankIndex>>;

/// All indexes together take one part in this many of the tier's budget, at most.
const BUDGET_PART: usize = 4;
/// What an entry of the list takes beside the index: node, map slot, mutex and counts.
const ENTRY_BYTES: usize = 200;

struct Held {
    index: SharedIndex,
    bytes: usize,
}

/// See the head of the file.
pub struct Ranks {
    indexes: Mutex<LruCache<Name, Held, RandomState>>,
    /// Indexes by the first byte of their names, so that most commits need not look.
    kinds: [AtomicU32; 256],
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
}

impl Ranks {
    pub(super) fn new(budget_bytes: usize) -> Ranks {
        Ranks {
            indexes: Mutex::new(LruCache::unbounded_with_hasher(RandomState::new())),
            kinds: std::array::from_fn(|_| AtomicU32::new(0)),
            bytes: AtomicUsize::new(0),
            bytes_max: AtomicUsize::new(budget_bytes / BUDGET_PART),
        }
    }

    /// True if there may be an index whose name begins with `kind`.
    pub fn has(&self, kind: u8) -> bool {
        self.kinds[usize::from(kind)].load(Ordering::Acquire) > 0
    }

    /// The index of this name, if it is here; no use of it.
    pub fn peek(&self, name: &[u8]) -> Option<SharedIndex> {
        let name = Name::from_slice(name);
        self.indexes.lock().peek(&name).map(|held| Arc::clone(&held.index))
    }

    /// The index of this name, or a new one that has counted nothing. Counts as a use.
    pub fn get_or_start(&self, name: &[u8]) -> SharedIndex {
        let name = Name::from_slice(name);
        let mut indexes = self.indexes.lock();
        if let Some(held) = indexes.get(&name) {
            return Arc::clone(&held.index);
        }
        let index = RankIndex::default();
        let bytes = ENTRY_BYTES + index.bytes();
        let index = Arc::new(Mutex::new(index));
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.kinds[kind_of(&name)].fetch_add(1, Ordering::Release);
        indexes.put(name, Held { index: Arc::clone(&index), bytes });
        index
    }

    /// Says how large an index is now. Others go if there is no room; false if this one went, for it is too large or was here no more.
    pub(super) fn charge(&self, name: &[u8], index: &SharedIndex, index_bytes: usize) -> bool {
        let name = Name::from_slice(name);
        let mut indexes = self.indexes.lock();
        match indexes.peek_mut(&name) {
            Some(held) if Arc::ptr_eq(&held.index, index) => {
                let bytes = ENTRY_BYTES + index_bytes;
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                self.bytes.fetch_sub(std::mem::replace(&mut held.bytes, bytes), Ordering::Relaxed);
            }
            _ => return false,
        }
        if ENTRY_BYTES + index_bytes > self.bytes_max.load(Ordering::Relaxed) {
            self.take(&mut indexes, &name);
            return false;
        }
        self.shrink(&mut indexes);
        indexes.contains(&name)
    }

    /// Forgets an index.
    pub fn remove(&self, name: &[u8]) {
        let name = Name::from_slice(name);
        self.take(&mut self.indexes.lock(), &name);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        let mut indexes = self.indexes.lock();
        while self.drop_oldest(&mut indexes) {}
    }

    pub(super) fn set_budget(&self, budget_bytes: usize) {
        self.bytes_max.store(budget_bytes / BUDGET_PART, Ordering::Relaxed);
        self.shrink(&mut self.indexes.lock());
    }

    /// Bytes of all indexes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The number of indexes.
    pub fn len(&self) -> usize {
        self.indexes.lock().len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&self, indexes: &mut LruCache<Name, Held, RandomState>, name: &Name) {
        if let Some((name, held)) = indexes.pop_entry(name) {
            self.forget(&name, &held);
        }
    }

    fn shrink(&self, indexes: &mut LruCache<Name, Held, RandomState>) {
        while self.bytes() > self.bytes_max.load(Ordering::Relaxed) && self.drop_oldest(indexes) {}
    }

    fn drop_oldest(&self, indexes: &mut LruCache<Name, Held, RandomState>) -> bool {
        let oldest = indexes.pop_lru();
        if let Some((name, held)) = &oldest {
            self.forget(name, held);
        }
        oldest.is_some()
    }

    fn forget(&self, name: &Name, held: &Held) {
        self.bytes.fetch_sub(held.bytes, Ordering::Relaxed);
        self.kinds[kind_of(name)].fetch_sub(1, Ordering::Release);
    }
}

fn kind_of(name: &Name) -> usize {
    name.first().map_or(0, |&kind| usize::from(kind))
}
