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
//! Lock rule: the list of lists has one mutex, held for a probe; each index has its own, held for one step of a search or one change. Never
//! two at a time, and neither while a shard's is held.

mod index;

pub use index::{Mark, MarkIndex, Next};

use super::named::{Name, Named};
use ahash::RandomState;
use parking_lot::Mutex;
use std::sync::Arc;

/// The marks of a list as they are handed out.
pub type SharedMarks = Arc<Mutex<MarkIndex>>;

/// All together take one part in this many of the tier's budget, at most.
const BUDGET_PART: usize = 16;

/// See the head of the file.
pub struct Marks {
    lists: Named<MarkIndex>,
    hasher: RandomState,
}

impl Marks {
    pub(super) fn new(budget_bytes: usize) -> Marks {
        Marks { lists: Named::new(budget_bytes / BUDGET_PART), hasher: RandomState::new() }
    }

    /// What stands for a value.
    pub fn mark(&self, value: &[u8]) -> Mark {
        self.hasher.hash_one(value) as Mark
    }

    /// True if there may be marks of a list whose name begins with `kind`, so that most commits need not look.
    pub fn has(&self, kind: u8) -> bool {
        self.lists.has(kind)
    }

    /// Bytes of all.
    pub fn bytes(&self) -> usize {
        self.lists.bytes()
    }

    /// The marks of a list, if it has any. Counts as a use.
    pub fn get(&self, name: &Name) -> Option<SharedMarks> {
        self.lists.get(name)
    }

    /// Keeps the marks of a list; the caller holds the lock of its key alone, and nothing has changed since they were read.
    pub(super) fn keep(&self, name: &Name, index: MarkIndex) {
        let bytes = index.bytes();
        self.lists.replace(name.clone(), index, bytes);
    }

    /// A commit has set a row of a list to a value, or removed it; it holds the lock of the list's key alone. False if nothing is kept.
    pub(super) fn change(&self, name: &Name, position: i64, value: Option<&[u8]>) -> bool {
        let Some(list) = self.lists.peek(name) else { return false };
        let mut index = list.lock();
        let is_worth_it = match value {
            Some(value) => {
                index.set(position, self.mark(value));
                true
            }
            None => index.remove(),
        };
        let bytes = index.bytes();
        drop(index);
        if !is_worth_it {
            self.lists.remove(name);
            return false;
        }
        // With it, what searches have added since.
        self.lists.charge(name, &list, bytes)
    }

    /// Forgets a list.
    pub fn remove(&self, name: &Name) {
        self.lists.remove(name);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.lists.clear();
    }

    pub(super) fn set_budget(&self, budget_bytes: usize) {
        self.lists.set_bytes_max(budget_bytes / BUDGET_PART);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::named::ENTRY_BYTES;

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
        assert!(marks.bytes() <= budget && marks.has(b'd'));
        marks.keep(&name(b'e'), index(64_000));
        assert!(marks.get(&name(b'e')).is_none(), "larger than all may be");
        marks.set_budget(0);
        assert!(!marks.has(b'd') && marks.bytes() == 0);
    }

    #[test]
    fn a_list_that_loses_its_rows_is_forgotten() {
        let marks = Marks::new(1 << 30);
        let name = Name::from_slice(b"l");
        marks.keep(&name, index(640));
        assert!(marks.change(&name, 5, Some(b"value")) && marks.change(&name, 6, None));
        let lost = (0..10_000).find(|position| !marks.change(&name, *position, None));
        assert!(lost.is_some() && !marks.has(b'l') && marks.bytes() == 0);
        assert!(!marks.change(&name, 5, Some(b"value")));
    }
}
