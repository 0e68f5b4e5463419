//! What a run has written so far and not yet committed: rows set or removed, found again by the run's own reads.
//!
//! Keys and values lie one after the other in an arena that is used again by the next run, so a small write allocates nothing.
//! Entries are only appended; a newer entry for the same row supersedes the older. That makes going back to a mark (a command in
//! EXEC that failed after its first write) a truncation. Up to a few entries are searched in line, more through an index.

use crate::encoding::Family;
use crate::encoding::row::head_row_hash;
use ahash::RandomState;
use hashbrown::HashTable;
use std::ops::Range;

const LINEAR_MAX: usize = 12;
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry {
    family: Family,
    row: Range<usize>,
    value: Option<Range<usize>>,
    previous: u32,
    superseded: bool,
    /// Whether the row was there before the run, as the first who wrote it knew.
    was_there: Option<bool>,
}

/// The rows a run has written.
#[derive(Default)]
pub struct Overlay {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    index: HashTable<u32>,
    hasher: RandomState,
}

fn hash_of(hasher: &RandomState, family: Family, row: &[u8]) -> u64 {
    let head = if family == Family::Keys { head_row_hash(row) } else { None };
    head.unwrap_or_else(|| hasher.hash_one((family as u8, row)))
}

/// A place to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    entries: usize,
    arena: usize,
}

/// What a run did to a row, all in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'o> {
    /// The row's family.
    pub family: Family,
    /// Its key.
    pub row: &'o [u8],
    /// Whether it was there before the run, as the first who wrote it knew.
    pub was_there: Option<bool>,
    /// The run leaves it there.
    pub present: bool,
}

/// A written row: its family, key, and value unless removed.
pub type Written<'o> = (Family, &'o [u8], Option<&'o [u8]>);

impl Overlay {
    /// True when nothing was written.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys and values, superseded ones included.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Entries, superseded ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets everything, keeping room for the next run (within reason).
    pub fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
        self.arena.clear();
        if self.arena.capacity() > 1 << 20 {
            self.arena = Vec::new();
            self.entries = Vec::new();
            self.index = HashTable::new();
        }
    }

    /// Sets a row to what `write` appends. `was_there` says whether it was there before the run, if the caller knows.
    pub fn put_with(
        &mut self,
        family: Family,
        row: &[u8],
        was_there: Option<bool>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let row = self.store_row(row);
        let start = self.arena.len();
        write(&mut self.arena);
        let value = start..self.arena.len();
        self.push(family, row, Some(value), was_there);
    }

    /// Sets a row.
    pub fn put(&mut self, family: Family, row: &[u8], value: &[u8]) {
        self.put_with(family, row, None, |out| out.extend_from_slice(value));
    }

    /// Sets a row that is not there.
    pub fn insert(&mut self, family: Family, row: &[u8], value: &[u8]) {
        self.put_with(family, row, Some(false), |out| out.extend_from_slice(value));
    }

    /// Sets a row that is there.
    pub fn replace(&mut self, family: Family, row: &[u8], value: &[u8]) {
        self.put_with(family, row, Some(true), |out| out.extend_from_slice(value));
    }

    /// Removes a row that is there.
    pub fn delete(&mut self, family: Family, row: &[u8]) {
        let row = self.store_row(row);
        self.push(family, row, None, Some(true));
    }

    fn store_row(&mut self, row: &[u8]) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend_from_slice(row);
        start..self.arena.len()
    }

    fn push(
        &mut self,
        family: Family,
        row: Range<usize>,
        value: Option<Range<usize>>,
        was_there: Option<bool>,
    ) {
        let previous = self.find(family, &self.arena[row.clone()]);
        if let Some(previous) = previous {
            self.entries[previous].superseded = true;
        }
        let number = self.entries.len() as u32;
        let link = previous.map_or(NONE, |index| index as u32);
        let was_there = previous.map_or(was_there, |index| self.entries[index].was_there);
        self.entries.push(Entry { family, row, value, previous: link, superseded: false, was_there });
        if self.entries.len() > LINEAR_MAX {
            if self.index.is_empty() {
                for number in 0..self.entries.len() as u32 {
                    self.index_newest(number);
                }
            } else {
                self.index_newest(number);
            }
        }
    }

    /// Makes the index point at `number` for its row.
    fn index_newest(&mut self, number: u32) {
        let Overlay { arena, entries, index, hasher } = self;
        let of = |number: u32| {
            let entry = &entries[number as usize];
            (entry.family, &arena[entry.row.clone()])
        };
        let (family, row) = of(number);
        let hash = hash_of(hasher, family, row);
        match index.find_mut(hash, |&other| of(other) == (family, row)) {
            Some(slot) => *slot = number,
            None => {
                index.insert_unique(hash, number, |&other| {
                    let (family, row) = of(other);
                    hash_of(hasher, family, row)
                });
            }
        }
    }

    fn find(&self, family: Family, row: &[u8]) -> Option<usize> {
        let is_it = |entry: &Entry| entry.family == family && self.arena[entry.row.clone()] == *row;
        if self.index.is_empty() {
            return self.entries.iter().rposition(is_it);
        }
        let hash = hash_of(&self.hasher, family, row);
        self.index.find(hash, |&number| is_it(&self.entries[number as usize])).map(|&number| number as usize)
    }

    /// What the run wrote to a row: `None` if nothing, `Some(None)` if it removed it.
    pub fn get(&self, family: Family, row: &[u8]) -> Option<Option<&[u8]>> {
        if self.entries.is_empty() {
            return None;
        }
        let entry = &self.entries[self.find(family, row)?];
        Some(entry.value.clone().map(|value| &self.arena[value]))
    }

    /// True if the run has removed the key of this head.
    pub fn removes(&self, head_row: &[u8]) -> bool {
        self.get(Family::Keys, head_row) == Some(None)
    }

    /// The rows written, the newest entry of each, in order of that entry.
    pub fn iter(&self) -> impl Iterator<Item = Written<'_>> + '_ {
        self.entries.iter().filter(|entry| !entry.superseded).map(|entry| self.written(entry))
    }

    /// The same, each with the number of its entry (see `len`) and whether it was there before the run, as far as is known.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, Written<'_>, Option<bool>)> + '_ {
        let newest = self.entries.iter().enumerate().filter(|(_, entry)| !entry.superseded);
        newest.map(|(number, entry)| (number, self.written(entry), entry.was_there))
    }

    /// The rows written, each with what became of it.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> + '_ {
        self.entries.iter().filter(|entry| !entry.superseded).map(|entry| Change {
            family: entry.family,
            row: &self.arena[entry.row.clone()],
            was_there: entry.was_there,
            present: entry.value.is_some(),
        })
    }

    fn written<'o>(&'o self, entry: &Entry) -> Written<'o> {
        (entry.family, &self.arena[entry.row.clone()], entry.value.clone().map(|value| &self.arena[value]))
    }

    /// The rows written in a family between two bounds, sorted by row. For scans, which merge them with what is stored.
    pub fn range(&self, family: Family, lower: &[u8], upper: &[u8]) -> Vec<(&[u8], Option<&[u8]>)> {
        let mut rows: Vec<_> = self
            .iter()
            .filter(|&(of, row, _)| of == family && row >= lower && row < upper)
            .map(|(_, row, value)| (row, value))
            .collect();
        rows.sort_unstable_by_key(|&(row, _)| row);
        rows
    }

    /// The present place.
    pub fn mark(&self) -> Mark {
        Mark { entries: self.entries.len(), arena: self.arena.len() }
    }

    /// Takes back everything since `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        // Whatever a write that did not come to its end has left.
        if self.entries.len() == mark.entries {
            self.arena.truncate(mark.arena);
            return;
        }
        while self.entries.len() > mark.entries {
            let Some(entry) = self.entries.pop() else { break };
            if let Some(previous) = self.entries.get_mut(entry.previous as usize) {
                previous.superseded = false;
            }
        }
        self.arena.truncate(mark.arena);
        self.index.clear();
        if self.entries.len() > LINEAR_MAX {
            for number in 0..self.entries.len() as u32 {
                self.index_newest(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Rng;
    use std::collections::BTreeMap;

    #[test]
    fn a_run_sees_its_last_write_and_rewinding_brings_back_the_one_before() {
        let mut overlay = Overlay::default();
        overlay.put(Family::Keys, b"a", b"1");
        let mark = overlay.mark();
        overlay.put(Family::Keys, b"a", b"2");
        overlay.delete(Family::Hash, b"a");
        assert_eq!(overlay.get(Family::Keys, b"a"), Some(Some(&b"2"[..])));
        assert_eq!(overlay.get(Family::Hash, b"a"), Some(None));
        overlay.rewind(mark);
        assert_eq!(overlay.get(Family::Keys, b"a"), Some(Some(&b"1"[..])));
        assert_eq!(overlay.get(Family::Hash, b"a"), None);
        assert_eq!(overlay.iter().count(), 1);
    }

    #[test]
    fn a_change_tells_what_was_done_first_and_what_is_left() {
        let mut overlay = Overlay::default();
        overlay.insert(Family::Score, b"new", b"");
        overlay.put(Family::List, b"set", b"");
        overlay.delete(Family::List, b"set");
        overlay.delete(Family::Score, b"new");
        overlay.delete(Family::Score, b"moved");
        overlay.replace(Family::Hash, b"field", b"");
        let mark = overlay.mark();
        overlay.put(Family::Score, b"moved", b"");
        fn seen(overlay: &Overlay) -> Vec<(&[u8], Option<bool>, bool)> {
            overlay.changes().map(|change| (change.row, change.was_there, change.present)).collect()
        }
        let (set, new): (&[u8], &[u8]) = (b"set", b"new");
        let first = [(set, None, false), (new, Some(false), false)];
        let (moved, field): (&[u8], &[u8]) = (b"moved", b"field");
        assert_eq!(
            seen(&overlay),
            [&first[..], &[(field, Some(true), true), (moved, Some(true), true)]].concat()
        );
        overlay.rewind(mark);
        assert_eq!(
            seen(&overlay),
            [&first[..], &[(moved, Some(true), false), (field, Some(true), true)]].concat()
        );
    }

    #[test]
    fn any_sequence_of_writes_and_rewinds_matches_a_map() {
        let mut rng = Rng::new(42);
        for _ in 0..200 {
            let mut overlay = Overlay::default();
            let mut model: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
            let mut saved = None;
            for step in 0..rng.below(80) {
                let row = vec![b'a' + rng.below(20) as u8];
                match rng.below(10) {
                    0 => saved = Some((overlay.mark(), model.clone())),
                    1 => {
                        if let Some((mark, old)) = saved.take() {
                            overlay.rewind(mark);
                            model = old;
                        }
                    }
                    2..=4 => {
                        overlay.delete(Family::Keys, &row);
                        model.insert(row, None);
                    }
                    _ => {
                        let value = step.to_string().into_bytes();
                        overlay.put(Family::Keys, &row, &value);
                        model.insert(row, Some(value));
                    }
                }
                assert!(overlay.changes().all(|change| model[change.row].is_some() == change.present));
                let range = overlay.range(Family::Keys, b"", b"\xff");
                let expected: Vec<_> =
                    model.iter().map(|(row, value)| (&row[..], value.as_deref())).collect();
                assert_eq!(range, expected);
                for (row, value) in &model {
                    assert_eq!(overlay.get(Family::Keys, row), Some(value.as_deref()));
                }
            }
        }
    }
}
