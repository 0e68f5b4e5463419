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

pub use super::named::Name;

use super::named::Named;
use parking_lot::Mutex;
use std::sync::Arc;

/// An index as it is handed out.
pub type SharedIndex = Arc<Mutex<RankIndex>>;

/// All indexes together take one part in this many of the tier's budget, at most.
const BUDGET_PART: usize = 4;

/// See the head of the file.
pub struct Ranks {
    indexes: Named<RankIndex>,
}

impl Ranks {
    pub(super) fn new(budget_bytes: usize) -> Ranks {
        Ranks { indexes: Named::new(budget_bytes / BUDGET_PART) }
    }

    /// True if there may be an index whose name begins with `kind`.
    pub fn has(&self, kind: u8) -> bool {
        self.indexes.has(kind)
    }

    /// The index of this name, if it is here; no use of it.
    pub fn peek(&self, name: &[u8]) -> Option<SharedIndex> {
        self.indexes.peek(&Name::from_slice(name))
    }

    /// The index of this name, or a new one that has counted nothing. Counts as a use.
    pub fn get_or_start(&self, name: &[u8]) -> SharedIndex {
        self.indexes.get_or_put(Name::from_slice(name), || {
            let index = RankIndex::default();
            let bytes = index.bytes();
            (index, bytes)
        })
    }

    /// Says how large an index is now. Others go if there is no room; false if this one went, for it is too large or was here no more.
    pub(super) fn charge(&self, name: &[u8], index: &SharedIndex, index_bytes: usize) -> bool {
        self.indexes.charge(&Name::from_slice(name), index, index_bytes)
    }

    /// Forgets an index.
    pub fn remove(&self, name: &[u8]) {
        self.indexes.remove(&Name::from_slice(name));
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.indexes.clear();
    }

    pub(super) fn set_budget(&self, budget_bytes: usize) {
        self.indexes.set_bytes_max(budget_bytes / BUDGET_PART);
    }

    /// Bytes of all indexes.
    pub fn bytes(&self) -> usize {
        self.indexes.bytes()
    }

    /// The number of indexes.
    pub fn len(&self) -> usize {
        self.indexes.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
