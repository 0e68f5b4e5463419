//! Ranks: where a row stands among the rows of its collection, and which row stands at a rank.
//!
//! A small collection is walked. A larger one gets a sparse counted index in the hot tier (`hot::ranks`): it knows how many rows lie before
//! each block of some 64, so a question costs two searches in memory and one short scan. The index counts what is committed; the run's own
//! writes are added to its answers.
//!
//! **Who changes an index.** `count_ranks`, in the commit, under the exclusive lock of the collection's key; and readers that hold
//! the lock at least shared, so that no commit can race them: they move the frontier on over rows they have read, or count a block anew.
//! There is no other way in, so an index can be incomplete but never wrong, and needs no check against sequences.
//!
//! **How one comes to be.** A worker reads on from the frontier if no more than a worker's bound of rows is left. Otherwise the pool runs
//! the command again and again under its locks (`Indexing::Building`), each run taking one slice and ending; between two runs the next slice
//! is warmed without locks. So writers wait for one slice at most, and the building ends however many of them there are: what
//! they change below the frontier is counted, what lies above is read later. (Building from a snapshot would have to be thrown away
//! whenever a stripe moves meanwhile, and on a busy server one always does.)
//!
//! **Whether a row was there before.** A commit must know, to count a row once. The rules, for rows under an indexed place:
//! 1. what the first write of the run said: `insert_element` sets only rows that are not there, `delete_element` removes only rows that
//!    are (as the run saw it then);
//! 2. after `put_element`: a row beyond either end of all that was ever counted was not there;
//! 3. else the hot tier may know (whoever overwrites has mostly read before);
//! 4. else the block is unsure, and the next reader counts it anew.
//!
//! Against a type that says what is not so: a block cannot fall below nothing, and an index whose total is not the count in the
//! collection's head is dropped.

use super::error::{Outcome, Stop};
use super::stretches::Stretch;
use super::txn::{Mode, Txn};
use super::{WORKER_STEPS_MAX, hot_name};
use crate::encoding::Family;
use crate::encoding::head::DataType;
use crate::encoding::row::{PLACE_LEN, Place, RowKey};
use crate::hot::Lookup;
use crate::hot::ranks::{Change, Found, Name, Pieces, RankIndex, SharedIndex, Suffix};
use crate::store::Direction;
use std::ops::ControlFlow;

/// Collections of so many rows are walked.
const WALKED_ROWS_MAX: u64 = 256;
/// Rows read under locks at a time when the pool builds an index.
const SLICE_ROWS: u64 = 2_000;

/// What becomes of a question for a rank in a large collection that has no complete index.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Indexing {
    /// A worker gives it to the pool (`Heavy`); the pool walks, or, under locks, builds the index in one go.
    #[default]
    Usual,
    /// A run from a snapshot ends with `Heavy`: it should run under its locks, `Building`.
    Wanted,
    /// A run under locks takes one slice and ends with `Cold`; a dry run only reads the slice. Other work is bounded as on a worker:
    /// beyond, the run ends with `Heavy`.
    Building {
        /// Rows counted so far, by all runs.
        rows: u64,
    },
}

impl Indexing {
    /// Nothing built yet.
    pub fn building() -> Indexing {
        Indexing::Building { rows: 0 }
    }

    /// True in runs that take a slice.
    pub fn is_building(&self) -> bool {
        matches!(self, Indexing::Building { .. })
    }

    /// Rows counted so far.
    pub fn rows(&self) -> u64 {
        if let Indexing::Building { rows } = self { *rows } else { 0 }
    }
}

/// A row the run has added to what is committed, or taken from it.
struct OwnRow {
    /// Its key behind the place.
    suffix: RowKey,
    change: i64,
}

/// Own rows in order.
#[derive(Default)]
struct OwnRows(Vec<OwnRow>);

impl OwnRows {
    fn sum(&self) -> i64 {
        self.0.iter().map(|own| own.change).sum()
    }

    /// The same for those before a row.
    fn before(&self, suffix: &[u8]) -> i64 {
        self.0.iter().take_while(|own| own.suffix[..] < *suffix).map(|own| own.change).sum()
    }

    fn count(&self, change: i64) -> u64 {
        self.0.iter().filter(|own| own.change == change).count() as u64
    }
}

/// The name of a collection's rows of a family, for the helpers in the hot tier.
pub(super) fn name_of(family: Family, place: &[u8]) -> Name {
    let mut name = Name::new();
    name.push(family as u8);
    name.extend_from_slice(place);
    name
}

fn row_of(place: Place, suffix: &[u8]) -> RowKey {
    let mut row = RowKey::from_slice(&place.prefix());
    row.extend_from_slice(suffix);
    row
}

fn suffix_of(row: &[u8]) -> &[u8] {
    row.get(PLACE_LEN..).unwrap_or_default()
}

/// The rows of a block: from here, to there.
fn bounds(place: Place, block: &Found) -> (RowKey, RowKey) {
    let end = block.to.as_ref().map_or_else(|| place.end(), |to| row_of(place, to));
    (row_of(place, &block.from), end)
}

/// The first and the row behind the last that a collection can have now. What lies outside is not walked: a queue leaves
/// deleted rows there.
pub type Limits<'a> = (&'a [u8], &'a [u8]);

impl Txn<'_> {
    /// How many rows of the collection at `place` lie before `row` (which need not be there) in `family`, of `count` in all, which
    /// lie within `limits`.
    pub fn rank(
        &mut self,
        family: Family,
        place: Place,
        count: u64,
        limits: Limits<'_>,
        row: &[u8],
    ) -> Outcome<u64> {
        let prefix = place.prefix();
        if !row.starts_with(&prefix) {
            return Ok(if row < &prefix[..] { 0 } else { count });
        }
        let own = self.own_rows(family, place)?;
        let Some(index) = self.rank_index(family, place, count, &own)? else {
            self.expect_work(count)?;
            return self.rows_between(family, limits.0, row.min(limits.1));
        };
        let name = name_of(family, &prefix);
        let find = |index: &RankIndex| Some(index.block_of(suffix_of(row)));
        let block = self.find_block(family, place, &name, &index, find)?;
        let Some(block) = block else { return Ok(0) };
        let (from, _) = bounds(place, &block);
        let before = block.before.saturating_add_signed(own.before(&block.from));
        let (from, to) = (limits.0.max(&from), row.min(limits.1));
        Ok(before + if from < to { self.rows_between(family, from, to)? } else { 0 })
    }

    /// The row with `rank` rows before it, if there are so many; `count` is how many there are in all, which lie within `limits`.
    pub fn row_at(
        &mut self,
        family: Family,
        place: Place,
        count: u64,
        limits: Limits<'_>,
        rank: u64,
    ) -> Outcome<Option<RowKey>> {
        if rank >= count {
            return Ok(None);
        }
        let own = self.own_rows(family, place)?;
        let Some(index) = self.rank_index(family, place, count, &own)? else {
            return self.walk_to(family, limits, count, rank);
        };
        let name = name_of(family, &place.prefix());
        let find = |index: &RankIndex| block_at(index, &own, rank);
        let block = self.find_block(family, place, &name, &index, find)?;
        let Some(block) = block else { return Ok(None) };
        let own_before = own.before(&block.from);
        let before = block.before.saturating_add_signed(own_before);
        let own_within = block.to.as_ref().map_or_else(|| own.sum(), |to| own.before(to)) - own_before;
        let rows = block.rows.saturating_add_signed(own_within);
        let (from, to) = bounds(place, &block);
        self.walk_to(family, (limits.0.max(&from), limits.1.min(&to)), rows, rank.saturating_sub(before))
    }

    /// Counts rows, own writes included.
    fn rows_between(&mut self, family: Family, lower: &[u8], upper: &[u8]) -> Outcome<u64> {
        let mut rows = 0;
        self.scan_kept(family, Stretch::between(lower, upper), Direction::Up, |_, _| {
            rows += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// The row with `rank` rows before it within bounds that hold `count`, own writes included; from the nearer end.
    fn walk_to(
        &mut self,
        family: Family,
        (lower, upper): (&[u8], &[u8]),
        count: u64,
        rank: u64,
    ) -> Outcome<Option<RowKey>> {
        let (mut left, direction) = match count.checked_sub(rank + 1) {
            Some(from_end) if from_end < rank => (from_end, Direction::Down),
            _ => (rank, Direction::Up),
        };
        self.expect_work(left)?;
        let mut found = None;
        self.scan_kept(family, Stretch::between(lower, upper), direction, |row, _| {
            if left == 0 {
                found = Some(RowKey::from_slice(row));
                return Ok(ControlFlow::Break(()));
            }
            left -= 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// What the run has added and removed in a collection. A run from a snapshot does without: it walks.
    fn own_rows(&mut self, family: Family, place: Place) -> Outcome<OwnRows> {
        let mut own = OwnRows::default();
        if self.scratch.overlay.is_empty() || self.mode == Mode::Heavy {
            return Ok(own);
        }
        self.count_steps(self.scratch.overlay.len() as u64)?;
        let prefix = place.prefix();
        let index = self.keyspace.hot.ranks().peek(&name_of(family, &prefix));
        for change in self.scratch.overlay.changes() {
            if change.family != family || !change.row.starts_with(&prefix) {
                continue;
            }
            let was_there = match self.was_there(index.as_ref(), family, change.row, change.was_there) {
                Some(known) => known,
                None => self.view.get(family, change.row)?.is_some(),
            };
            if was_there != change.present {
                let suffix = RowKey::from_slice(suffix_of(change.row));
                own.0.push(OwnRow { suffix, change: if change.present { 1 } else { -1 } });
            }
        }
        own.0.sort_unstable_by(|a, b| a.suffix.cmp(&b.suffix));
        Ok(own)
    }

    /// Whether a row that the run has written was there before; see the head of the file.
    fn was_there(
        &self,
        index: Option<&SharedIndex>,
        family: Family,
        row: &[u8],
        known: Option<bool>,
    ) -> Option<bool> {
        if known.is_some() {
            return known;
        }
        if index.is_some_and(|index| {
            let index = index.lock();
            index.covers(suffix_of(row)) && index.is_outside(suffix_of(row))
        }) {
            return Some(false);
        }
        match self.keyspace.hot.get_quiet(hot_name(family, row)) {
            Lookup::Hit(_) => Some(true),
            Lookup::Absent => Some(false),
            Lookup::Miss => None,
        }
    }

    /// The complete index of a collection with `count` rows, own ones included; `None` when it is to be walked.
    fn rank_index(
        &mut self,
        family: Family,
        place: Place,
        count: u64,
        own: &OwnRows,
    ) -> Outcome<Option<SharedIndex>> {
        let stored = count.saturating_add_signed(-own.sum());
        if stored <= WALKED_ROWS_MAX {
            return Ok(None);
        }
        let name = name_of(family, &place.prefix());
        match self.mode {
            Mode::Heavy if self.scratch.indexing == Indexing::Wanted && stored > WORKER_STEPS_MAX => {
                Err(Stop::Heavy)
            }
            Mode::Heavy => Ok(None),
            Mode::Dry => self.dry_index(family, place, &name, stored),
            Mode::Worker | Mode::Locked | Mode::Alone => {
                self.complete_index(family, place, &name, stored).map(Some)
            }
        }
    }

    /// For a run that may only read: the index if it is complete, or the rows that are to be counted next.
    fn dry_index(
        &mut self,
        family: Family,
        place: Place,
        name: &Name,
        stored: u64,
    ) -> Outcome<Option<SharedIndex>> {
        let index = self.keyspace.hot.ranks().peek(name);
        let counted = index.as_ref().map_or(0, |index| index.lock().total());
        let Some(frontier) = frontier_of(index.as_ref()) else { return Ok(index) };
        if self.scratch.indexing.is_building() {
            self.read_slice(family, place, &frontier)?;
            return Err(Stop::Cold);
        }
        if stored.saturating_sub(counted) > WORKER_STEPS_MAX {
            return Err(Stop::Heavy);
        }
        // What a worker will read to complete it; then on to what the answer depends on, as far as can be told.
        let (from, end) = (row_of(place, &frontier), place.end());
        self.rows_between(family, &from, &end)?;
        if stored > WORKER_STEPS_MAX { Err(Stop::Cold) } else { Ok(None) }
    }

    /// Under locks: the index, completed as far as this run may.
    fn complete_index(
        &mut self,
        family: Family,
        place: Place,
        name: &Name,
        stored: u64,
    ) -> Outcome<SharedIndex> {
        let hot = &self.keyspace.hot;
        let mut index = hot.ranks().get_or_start(name);
        let mut trusted = true;
        loop {
            let (frontier, counted) = {
                let index = index.lock();
                (index.frontier().cloned(), index.total())
            };
            let Some(frontier) = frontier else {
                if counted == stored || !trusted || !index.lock().unsure().is_empty() {
                    return Ok(index);
                }
                tracing::warn!(?family, ?place, counted, stored, "a rank index was wrong and is made anew");
                trusted = false;
                hot.ranks().remove(name);
                index = hot.ranks().get_or_start(name);
                continue;
            };
            if self.mode == Mode::Worker && stored.saturating_sub(counted) > WORKER_STEPS_MAX {
                return Err(Stop::Heavy);
            }
            if let Indexing::Building { rows } = self.scratch.indexing
                && rows > 2 * stored + SLICE_ROWS
            {
                // It was evicted meanwhile, more than once, or is not what the head says: better walk.
                return Err(Stop::Heavy);
            }
            let (pieces, end) = self.read_slice(family, place, &frontier)?;
            let rows = pieces.rows();
            let next = match &end {
                SliceEnd::Last => None,
                SliceEnd::Before(next) => Some(next.clone()),
                SliceEnd::Cold => Some(pieces.frontier_here()),
            };
            index.lock().extend(pieces, next);
            let kept = hot.charge_rank_index(name, &index);
            if let Indexing::Building { rows: counted } = &mut self.scratch.indexing {
                *counted += rows;
                if end != SliceEnd::Last {
                    return Err(if kept { Stop::Cold } else { Stop::Heavy });
                }
            }
            if end == SliceEnd::Cold {
                return Err(Stop::Cold);
            }
        }
    }

    /// Reads committed rows from a frontier on.
    fn read_slice(&self, family: Family, place: Place, frontier: &[u8]) -> Outcome<(Pieces, SliceEnd)> {
        let mut pieces = Pieces::new(frontier);
        let mut end = SliceEnd::Last;
        let (from, to) = (row_of(place, frontier), place.end());
        let scanned = self.view.scan(family, &from, &to, Direction::Up, |row, _| {
            if pieces.rows() == SLICE_ROWS {
                end = SliceEnd::Before(pieces.frontier_before(suffix_of(row)));
                return Ok(ControlFlow::Break(()));
            }
            pieces.add(suffix_of(row));
            Ok(ControlFlow::Continue(()))
        });
        match scanned {
            Err(Stop::Cold) if pieces.rows() > 0 => Ok((pieces, SliceEnd::Cold)),
            ended => ended.map(|()| (pieces, end)),
        }
    }

    /// The block that `find` finds, in an index without unsure blocks; stale blocks in the way are counted anew.
    fn find_block(
        &self,
        family: Family,
        place: Place,
        name: &Name,
        index: &SharedIndex,
        find: impl Fn(&RankIndex) -> Option<Found>,
    ) -> Outcome<Option<Found>> {
        loop {
            let (mut stale, found) = {
                let index = index.lock();
                (index.unsure(), find(&index))
            };
            stale.extend(found.iter().filter(|block| block.stale).cloned());
            if stale.is_empty() {
                return Ok(found);
            }
            for block in &stale {
                let mut pieces = Pieces::new(&block.from);
                let (from, to) = bounds(place, block);
                self.view.scan(family, &from, &to, Direction::Up, |row, _| {
                    pieces.add(suffix_of(row));
                    Ok::<_, Stop>(ControlFlow::Continue(()))
                })?;
                // After the first the others are asked for again.
                if self.mode != Mode::Dry {
                    index.lock().refine(block, pieces);
                    self.keyspace.hot.charge_rank_index(name, index);
                    break;
                }
            }
            if self.mode == Mode::Dry {
                return Ok(found);
            }
        }
    }

    /// Tells the indexes what a commit has changed, before the hot tier learns of it. `dead` are the collections that are no more.
    pub(super) fn count_ranks(&self, dead: impl Iterator<Item = (DataType, Place)>) {
        let hot = &self.keyspace.hot;
        let ranks = hot.ranks();
        for (data_type, place) in dead {
            for family in data_type.families().iter().filter(|family| ranks.has(**family as u8)) {
                ranks.remove(&name_of(*family, &place.prefix()));
            }
        }
        let mut current: Option<(Name, SharedIndex)> = None;
        for change in self.scratch.overlay.changes() {
            if !change.family.holds_elements() || !ranks.has(change.family as u8) {
                continue;
            }
            let Some(place) = change.row.get(..PLACE_LEN) else { continue };
            let name = name_of(change.family, place);
            if current.as_ref().is_none_or(|(of, _)| *of != name) {
                if let Some((name, index)) = current.take() {
                    hot.charge_rank_index(&name, &index);
                }
                current = ranks.peek(&name).map(|index| (name.clone(), index));
            }
            let Some((_, index)) = &current else { continue };
            let was_there = self.was_there(Some(index), change.family, change.row, change.was_there);
            let happened = match (was_there, change.present) {
                (Some(false), true) => Change::Added,
                (Some(true), false) => Change::Removed,
                (None, _) => Change::Unsure,
                _ => continue,
            };
            let lost = index.lock().change(suffix_of(change.row), happened).is_err();
            if lost {
                ranks.remove(&name);
                current = None;
            }
        }
        if let Some((name, index)) = current {
            hot.charge_rank_index(&name, &index);
        }
    }
}

/// How reading a slice ended.
#[derive(Debug, PartialEq, Eq)]
enum SliceEnd {
    /// There are no more rows.
    Last,
    /// The next row lies behind this.
    Before(Suffix),
    /// The next row is on disk.
    Cold,
}

/// The block of the row with `rank` rows before it, own ones included.
fn block_at(index: &RankIndex, own: &OwnRows, rank: u64) -> Option<Found> {
    if own.0.is_empty() {
        return index.block_at(rank);
    }
    // Own rows move it by no more than there are: the last block in reach that does not begin behind it.
    let last = index.total().checked_sub(1)?;
    let (mut low, mut high) = (rank.saturating_sub(own.count(1)).min(last), (rank + own.count(-1)).min(last));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let block = index.block_at(middle)?;
        if block.before.saturating_add_signed(own.before(&block.from)) <= rank {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    index.block_at(low)
}

/// Where the next slice begins, unless the index is complete.
fn frontier_of(index: Option<&SharedIndex>) -> Option<Suffix> {
    index.map_or_else(|| Some(Default::default()), |index| index.lock().frontier().cloned())
}

#[cfg(test)]
mod tests;
