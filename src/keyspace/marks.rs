//! Marks of long lists: finding the first element equal to a value without reading those before it (`hot::marks`).
//!
//! A run on the pool that walks a long list from its front, from a snapshot or under locks, gathers marks of what it reads
//! (`begin_marks`, `keep_marks`). If it commits, nothing has changed since its snapshot and its locks are held: then the marks are
//! put in, and what it has written itself is added, as for every later commit. So a worker that looks for a value in that list
//! again reads some rows instead of all (`seek`).
//!
//! **Who changes marks.** Commits, and readers that hold the key's lock, who say what rows a crowded segment has. A run from a snapshot
//! and one with writes of its own do without.

use super::error::{Outcome, Stop};
use super::ranks::name_of;
use super::stretches::Stretch;
use super::txn::{Mode, Txn};
use crate::encoding::head::DataType;
use crate::encoding::row::{PLACE_LEN, Place};
use crate::encoding::{Damaged, Family};
use crate::hot::marks::{MarkIndex, Marks, Next};
use crate::hot::ranks::Name;
use crate::store::Direction;
use std::ops::ControlFlow;

/// Shorter lists are walked.
const MARKED_ROWS_MIN: u64 = 1024;

/// Where a value stands in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// The first one is here.
    At(i64),
    /// It is not in the list.
    Nowhere,
    /// It is not before this position; the rest must be walked.
    NotBefore(i64),
}

/// Marks on their way, as a walk from the front of a list comes upon its elements.
pub struct Marking<'k> {
    marks: &'k Marks,
    name: Name,
    index: MarkIndex,
    /// Behind the last row that was taken in.
    frontier: i64,
    is_full: bool,
}

impl Marking<'_> {
    /// The next element.
    pub fn add(&mut self, position: i64, value: &[u8]) {
        if !self.is_full {
            self.is_full = !self.index.push(position, self.marks.mark(value));
            self.frontier = if self.is_full { self.frontier } else { position.saturating_add(1) };
        }
    }
}

/// Marks that the commit will put in.
pub(super) struct Marked {
    name: Name,
    index: MarkIndex,
}

fn position_of(row: &[u8]) -> Option<i64> {
    let bytes: [u8; 8] = row.get(PLACE_LEN..)?.try_into().ok()?;
    Some((u64::from_be_bytes(bytes) ^ (1 << 63)) as i64)
}

impl<'k> Txn<'k> {
    /// Looks for the first row of a list of `count` rows, which lie from the position `first` to `last`, whose value is this one.
    pub fn seek(
        &mut self,
        place: Place,
        count: u64,
        (first, last): (i64, i64),
        value: &[u8],
    ) -> Outcome<Sought> {
        let marks = self.keyspace.hot.marks();
        let applies = count >= MARKED_ROWS_MIN && self.mode != Mode::Heavy && self.scratch.overlay.is_empty();
        if !applies || !marks.has(Family::List as u8) {
            return Ok(Sought::NotBefore(first));
        }
        let Some(index) = marks.get(&name_of(Family::List, &place.prefix())) else {
            return Ok(Sought::NotBefore(first));
        };
        let mark = marks.mark(value);
        let (mut at, mut steps) = (first, 0);
        loop {
            let next = index.lock().next(at, mark);
            let (from, to, is_crowded) = match next {
                Next::Segment { from, to, is_crowded } => (from, to, is_crowded),
                Next::Frontier(frontier) => return Ok(Sought::NotBefore(frontier.max(first))),
                Next::Nowhere => return Ok(Sought::Nowhere),
            };
            // Outside of the list's own ends lie rows that were popped.
            let end = to.unwrap_or(i64::MAX).min(last.saturating_add(1));
            let (lower, upper) = (place.index_row(from.max(first)), place.index_row(end));
            let (mut found, mut rows) = (None, Vec::new());
            let steps_max = self.steps_max();
            self.scan_kept(Family::List, Stretch::between(&lower, &upper), Direction::Up, |row, other| {
                steps += 1;
                if steps > steps_max {
                    return Err(Stop::Heavy);
                }
                let position = position_of(row).ok_or(Damaged("list row without a position"))?;
                if is_crowded {
                    rows.push((position, marks.mark(other)));
                }
                if found.is_none() && other == value {
                    found = Some(position);
                }
                let ends = found.is_some() && !is_crowded;
                Ok(if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if is_crowded && self.mode.fills_hot_tier() {
                index.lock().refine(from, &rows);
            }
            match (found, to) {
                (Some(found), _) => return Ok(Sought::At(found)),
                (None, Some(to)) if to <= last => at = to,
                (None, _) => return Ok(Sought::Nowhere),
            }
        }
    }

    /// Begins to gather marks in a walk over all rows of a list of `count` rows, from its front on; none if this run had better not.
    pub fn begin_marks(&self, place: Place, count: u64) -> Option<Marking<'k>> {
        let on_pool = matches!(self.mode, Mode::Heavy | Mode::Locked | Mode::Alone);
        if !on_pool || count < MARKED_ROWS_MIN || !self.scratch.overlay.is_empty() {
            return None;
        }
        let (marks, name) = (self.keyspace.hot.marks(), name_of(Family::List, &place.prefix()));
        Some(Marking { marks, name, index: MarkIndex::default(), frontier: i64::MIN, is_full: false })
    }

    /// The walk has ended, and the run goes on to change the list.
    pub fn keep_marks(&mut self, marking: Option<Marking<'k>>) {
        if let Some(Marking { name, mut index, frontier, .. }) = marking {
            index.set_frontier(Some(frontier));
            self.scratch.marked = Some(Marked { name, index });
        }
    }

    /// Puts in the marks that the run has gathered, and tells all what the commit has changed. Called with the run's locks held, after
    /// the batch.
    pub(super) fn patch_marks(&mut self, dead: impl Iterator<Item = (DataType, Place)>) {
        let hot = &self.keyspace.hot;
        if let Some(Marked { name, index }) = self.scratch.marked.take() {
            hot.keep_marks(&name, index);
        }
        let marks = hot.marks();
        if !marks.has(Family::List as u8) {
            return;
        }
        for (data_type, place) in dead {
            if data_type == DataType::List {
                marks.remove(&name_of(Family::List, &place.prefix()));
            }
        }
        let mut unknown = Name::new();
        for (family, row, value) in self.scratch.overlay.iter() {
            let Some(place) = row.get(..PLACE_LEN).filter(|_| family == Family::List) else { continue };
            let name = name_of(family, place);
            if name == unknown {
                continue;
            }
            let kept = position_of(row).is_some_and(|position| hot.change_marks(&name, position, value));
            if !kept {
                unknown = name;
            }
        }
    }
}
