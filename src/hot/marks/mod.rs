//! Marks: where in a long list a value may stand, without reading the list.
//!
//! LINSERT looks for the first element equal to a value, and RocksDB needs 0.1 us to come to the next row. So of each element a mark of
//! 16 bits is kept, part of its value's hash. A search goes through the marks and reads the rows of those segments alone that have
//! the right one: besides the one looked for, every thousandth.
//!
//! Marks may tell of values that are not there (a removed or changed row leaves its mark behind), and never miss one that is: lists come in
//! as a commit has read them under its locks, and are changed by commits. All together take a part of the tier's budget; beyond, the list
//! unused for longest goes.
//!
//! Lock rule: the list of lists has one mutex, held for a probe or a change; each index has its own, held for one step of a search, and
//! taken after the other if with it. Neither while a shard's is held.

mod index;

pub use index::{Mark, MarkIndex, Next};

use super::ranks::Name;
use ahash::RandomState;
use lru::LruCache;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::Release};

/// The marks of a list as they are handed out.
pub type SharedMarks = Arc<Mutex<MarkIndex>>;

/// All together take one part in this many of the tier's budget, at most.
const BUDGET_PART: usize = 16;
/// What an entry of the list takes beside the marks.
const ENTRY_BYTES: usize = 200;

struct Held {
    index: SharedMarks,
    bytes: usize,
}

type Lists = LruCache<Name, Held, RandomState>;

/// See the head of the file.
pub struct Marks {
    lists: Mutex<Lists>,
    hasher: RandomState,
    /// Lists that have marks, so that most commits need not look.
    count: AtomicUsize,
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
}

impl Marks {
    pub(super) fn new(budget_bytes: usize) -> Marks {
        Marks {
            lists: Mutex::new(LruCache::unbounded_with_hasher(RandomState::new())),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            bytes_max: AtomicUsize::new(budget_bytes / BUDGET_PART),
        }
    }

    /// What stands for a value.
    pub fn mark(&self, value: &[u8]) -> Mark {
        self.hasher.hash_one(value) as Mark
    }

    /// True if no list has marks.
    pub fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// Bytes of all.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// The marks of a list, if it has any. Counts as a use.
    pub fn get(&self, name: &Name) -> Option<SharedMarks> {
        self.lists.lock().get(name).map(|held| Arc::clone(&held.index))
    }

    /// Keeps the marks of a list; the caller holds the lock of its key alone, and nothing has changed since they were read.
    pub(super) fn keep(&self, name: &Name, index: MarkIndex) {
        let bytes = ENTRY_BYTES + index.bytes();
        let mut lists = self.lists.lock();
        self.take(&mut lists, name);
        if bytes > self.bytes_max.load(Relaxed) {
            return;
        }
        lists.put(name.clone(), Held { index: Arc::new(Mutex::new(index)), bytes });
        self.count.fetch_add(1, Release);
        self.bytes.fetch_add(bytes, Relaxed);
        self.shrink(&mut lists);
    }

    /// A commit has set a row of a list to a value, or removed it; it holds the lock of the list's key alone. False if nothing is kept.
    pub(super) fn change(&self, name: &Name, position: i64, value: Option<&[u8]>) -> bool {
        let mut lists = self.lists.lock();
        let Some(held) = lists.peek_mut(name) else { return false };
        let mut index = held.index.lock();
        let is_worth_it = match value {
            Some(value) => {
                index.set(position, self.mark(value));
                true
            }
            None => index.remove(),
        };
        let bytes = ENTRY_BYTES + index.bytes();
        drop(index);
        self.bytes.fetch_add(bytes, Relaxed);
        self.bytes.fetch_sub(std::mem::replace(&mut held.bytes, bytes), Relaxed);
        if !is_worth_it {
            self.take(&mut lists, name);
        }
        self.shrink(&mut lists);
        is_worth_it
    }

    /// Forgets a list.
    pub fn remove(&self, name: &Name) {
        self.take(&mut self.lists.lock(), name);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        let mut lists = self.lists.lock();
        while self.drop_oldest(&mut lists) {}
    }

    pub(super) fn set_budget(&self, budget_bytes: usize) {
        self.bytes_max.store(budget_bytes / BUDGET_PART, Relaxed);
        self.shrink(&mut self.lists.lock());
    }

    fn shrink(&self, lists: &mut Lists) {
        while self.bytes() > self.bytes_max.load(Relaxed) && self.drop_oldest(lists) {}
    }

    fn drop_oldest(&self, lists: &mut Lists) -> bool {
        let oldest = lists.pop_lru();
        if let Some((_, held)) = &oldest {
            self.forget(held);
        }
        oldest.is_some()
    }

    fn take(&self, lists: &mut Lists, name: &Name) {
        if let Some(held) = lists.pop(name) {
            self.forget(&held);
        }
    }

    fn forget(&self, held: &Held) {
        self.bytes.fetch_sub(held.bytes, Relaxed);
        self.count.fetch_sub(1, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(rows: i64) -> MarkIndex {
        let mut index = MarkIndex::default();
        assert!((0..rows).all(|position| index.push(position, 1)));
        index
    }

    #[test]
    fn lists_beyond_the_budget_go_the_longest_unused_first() {
        let budget = 3 * (ENTRY_BYTES + index(640).bytes());
        let marks = Marks::new(budget * BUDGET_PART);
        let name = |letter: u8| Name::from_slice(&[letter]);
        for letter in b'a'..=b'c' {
            marks.keep(&name(letter), index(640));
        }
        assert!(marks.get(&name(b'a')).is_some());
        marks.keep(&name(b'd'), index(640));
        let kept: Vec<bool> = (b'a'..=b'd').map(|letter| marks.get(&name(letter)).is_some()).collect();
        assert_eq!(kept, [true, false, true, true]);
        assert!(marks.bytes() <= budget && !marks.is_empty());
        marks.keep(&name(b'e'), index(64_000));
        assert!(marks.get(&name(b'e')).is_none(), "larger than all may be");
        marks.set_budget(0);
        assert!(marks.is_empty() && marks.bytes() == 0);
    }

    #[test]
    fn a_list_that_loses_its_rows_is_forgotten() {
        let marks = Marks::new(1 << 30);
        let name = Name::from_slice(b"l");
        marks.keep(&name, index(640));
        assert!(marks.change(&name, 5, Some(b"value")) && marks.change(&name, 6, None));
        let lost = (0..10_000).find(|position| !marks.change(&name, *position, None));
        assert!(lost.is_some() && marks.is_empty() && marks.bytes() == 0);
        assert!(!marks.change(&name, 5, Some(b"value")));
    }
}
