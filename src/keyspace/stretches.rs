//! Scans of collections that are kept in memory, in order (`hot::stretches`).
//!
//! `Txn::scan_kept` shows what `Txn::scan` shows. In a run that holds its locks it goes through the blocks that are kept; where there is a
//! gap between them it reads the store, and keeps what it has read. No commit can race it, for it holds the lock of the collection's
//! key; the commit tells the blocks what it has changed (`patch_stretches`), under the same lock. Runs from a snapshot read the store.
//!
//! Where a scan ends early, some rows more are read and kept: who looks at the first few rows of a queue again and again opens an
//! iterator once for many of them.

#[cfg(test)]
mod tests;

use super::commit::ROWS_FOLLOWED_MAX;
use super::error::{Outcome, Stop};
use super::ranks::name_of;
use super::scratch::Scratch;
use super::txn::Txn;
use crate::encoding::Family;
use crate::encoding::head::DataType;
use crate::encoding::row::{PLACE_LEN, Place, RowKey};
use crate::hot::ranks::Name;
use crate::hot::stretches::{Block, Gap, Known, ROW_BYTES_MAX, Suffix, behind, order_of_ends};
use crate::store::Direction;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// Blocks kept of one scan, at most: a worker's bound of rows.
const BLOCKS_MAX: usize = 96;
/// So many rows are read at least, if there are so many, when what is read is kept.
const ROWS_READ_MIN: usize = 32;

/// Which rows of a collection a scan is to show, and what its caller knows.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'a> {
    /// The first that may be shown.
    pub lower: &'a [u8],
    /// The first behind it that may not.
    pub upper: &'a [u8],
    /// The collection has no row before `lower`, the run's own writes considered.
    pub is_first: bool,
    /// Nor one at or behind `upper`.
    pub is_last: bool,
}

impl<'a> Stretch<'a> {
    /// From `lower` (included) to `upper` (excluded); what lies outside is not known.
    pub fn between(lower: &'a [u8], upper: &'a [u8]) -> Stretch<'a> {
        Stretch { lower, upper, is_first: false, is_last: false }
    }
}

type Flow = Outcome<ControlFlow<()>>;

/// A scan under way.
struct Scan<'t, 'k> {
    txn: &'t Txn<'k>,
    family: Family,
    name: Name,
    stretch: Stretch<'t>,
    /// Of the row about to be shown; the place stays.
    row: RowKey,
}

impl Txn<'_> {
    /// Shows the rows of `stretch` to `visit`, own writes merged in, until it breaks. For scans that will be made again: what they
    /// read is kept in memory.
    pub fn scan_kept(
        &mut self,
        family: Family,
        stretch: Stretch<'_>,
        direction: Direction,
        visit: impl FnMut(&[u8], &[u8]) -> Flow,
    ) -> Outcome {
        // A row that the run itself has removed is still there for others, and stays if the run is dropped.
        let stretch = match self.scratch.overlay.is_empty() {
            true => stretch,
            false => Stretch::between(stretch.lower, stretch.upper),
        };
        self.scan_merged(family, stretch, true, direction, visit)
    }

    /// Shows rows without own writes.
    pub(super) fn scan_stored(
        &self,
        family: Family,
        stretch: Stretch<'_>,
        kept: bool,
        direction: Direction,
        mut visit: impl FnMut(&[u8], &[u8]) -> Flow,
    ) -> Outcome {
        let mut visit = |row: &[u8], value: &[u8]| {
            self.count_steps(1)?;
            visit(row, value)
        };
        let place = stretch.lower.get(..PLACE_LEN).filter(|place| kept && self.keeps_stretches(place));
        let Some(place) = place else {
            return self.view_of(stretch.lower).scan(family, stretch.lower, stretch.upper, direction, visit);
        };
        let row = RowKey::from_slice(place);
        let mut scan = Scan { txn: self, family, name: name_of(family, place), stretch, row };
        match direction {
            Direction::Up => scan.go_up(&mut visit),
            Direction::Down => scan.go_down(&mut visit),
        }
    }

    /// The run holds its locks, and the collection at `place` is there for all: the run has not made it.
    fn keeps_stretches(&self, place: &[u8]) -> bool {
        let Scratch { made, intents, .. } = &*self.scratch;
        let is_own = !made.is_empty() && Place::read(place).is_some_and(|place| made.contains(&place));
        self.mode.fills_hot_tier() && intents.is_empty() && !is_own
    }

    /// Tells the kept stretches what the commit has changed. Called with the run's locks held, after the batch.
    pub(super) fn patch_stretches(&self, dead: impl Iterator<Item = (DataType, Place)>) {
        let hot = &self.keyspace.hot;
        let stretches = hot.stretches();
        for (data_type, place) in dead {
            for family in data_type.families().iter().filter(|family| stretches.has(**family as u8)) {
                stretches.remove(&name_of(*family, &place.prefix()));
            }
        }
        let is_large = self.scratch.overlay.len() > ROWS_FOLLOWED_MAX;
        let mut unknown = Name::new();
        for (family, row, value) in self.scratch.overlay.iter() {
            if !family.holds_elements() || !stretches.has(family as u8) {
                continue;
            }
            let Some((place, key)) = row.split_at_checked(PLACE_LEN) else { continue };
            let name = name_of(family, place);
            if name == unknown {
                continue;
            }
            if is_large {
                stretches.remove(&name);
                unknown = name;
            } else if !hot.change_stretch(&name, key, value) {
                unknown = name;
            }
        }
    }
}

impl Scan<'_, '_> {
    fn show(&mut self, key: &[u8], value: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Flow) -> Flow {
        self.row.truncate(PLACE_LEN);
        self.row.extend_from_slice(key);
        visit(&self.row, value)
    }

    /// The end of the scan; none when it is the collection's.
    fn upper(&self) -> Option<Suffix> {
        let (place, key) = self.stretch.upper.split_at_checked(PLACE_LEN)?;
        (place == &self.row[..PLACE_LEN]).then(|| Suffix::from_slice(key))
    }

    fn lower(&self) -> Suffix {
        Suffix::from_slice(self.stretch.lower.get(PLACE_LEN..).unwrap_or_default())
    }

    /// The row key of a bound; without one, of the scan's end.
    fn row_at(&self, bound: Option<&[u8]>) -> RowKey {
        let Some(bound) = bound else { return RowKey::from_slice(self.stretch.upper) };
        let mut row = RowKey::from_slice(&self.row[..PLACE_LEN]);
        row.extend_from_slice(bound);
        row
    }

    fn go_up(&mut self, visit: &mut dyn FnMut(&[u8], &[u8]) -> Flow) -> Outcome {
        let upper = self.upper();
        let mut at = self.lower();
        let mut is_first = self.stretch.is_first;
        while order_of_ends(upper.as_deref(), Some(&at)) == Ordering::Greater {
            match self.txn.keyspace.hot.stretches().look_up(&self.name, &at) {
                Known::Blocks(blocks) => {
                    for block in &blocks {
                        for (key, value) in block.iter() {
                            if order_of_ends(upper.as_deref(), Some(key)) != Ordering::Greater {
                                return Ok(());
                            }
                            if key >= &at[..] && self.show(key, value, visit)?.is_break() {
                                return Ok(());
                            }
                        }
                        let Some(to) = block.to() else { return Ok(()) };
                        at = Suffix::from_slice(to);
                    }
                }
                Known::Gap(gap) => {
                    let start = if is_first { gap.from.clone() } else { at.clone() };
                    let to = gap.to.clone();
                    if self.read_up(&at, start, upper.as_deref(), gap, visit)?.is_break() {
                        return Ok(());
                    }
                    let Some(to) = to else { return Ok(()) };
                    at = to;
                }
            }
            is_first = false;
        }
        Ok(())
    }

    /// Reads the store from `at` to the end of the gap or of the scan, and keeps it as a stretch from `start` on.
    fn read_up(
        &self,
        at: &[u8],
        start: Suffix,
        upper: Option<&[u8]>,
        gap: Gap,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Flow,
    ) -> Flow {
        let to_scan_end = order_of_ends(gap.to.as_deref(), upper) != Ordering::Less;
        let end = if to_scan_end { upper } else { gap.to.as_deref() };
        let mut kept = Keeping::new(gap.wanted, Direction::Up, start);
        let flow = self.read(at, end, Direction::Up, &mut kept, visit)?;
        if flow.is_continue() {
            let end =
                if to_scan_end && !self.stretch.is_last { upper.map(Suffix::from_slice) } else { gap.to };
            kept.end_up(end);
        } else {
            kept.end_here();
        }
        self.keep(kept);
        Ok(flow)
    }

    fn go_down(&mut self, visit: &mut dyn FnMut(&[u8], &[u8]) -> Flow) -> Outcome {
        let lower = self.lower();
        let mut at = self.upper();
        let mut is_last = self.stretch.is_last;
        while order_of_ends(at.as_deref(), Some(&lower)) == Ordering::Greater {
            match self.txn.keyspace.hot.stretches().look_down(&self.name, at.as_deref()) {
                Known::Blocks(blocks) => {
                    for block in &blocks {
                        for (key, value) in block.iter_down() {
                            if key < &lower[..] {
                                return Ok(());
                            }
                            let is_inside = order_of_ends(at.as_deref(), Some(key)) == Ordering::Greater;
                            if is_inside && self.show(key, value, visit)?.is_break() {
                                return Ok(());
                            }
                        }
                        at = Some(Suffix::from_slice(block.from()));
                    }
                }
                Known::Gap(gap) => {
                    let start = if is_last { gap.to.clone() } else { at.clone() };
                    let from = gap.from.clone();
                    if self.read_down(at.as_deref(), start, &lower, gap, visit)?.is_break() {
                        return Ok(());
                    }
                    at = Some(from);
                }
            }
            is_last = false;
        }
        Ok(())
    }

    /// Reads the store from `at` down to the end of the gap or of the scan, and keeps it as a stretch that ends at `start`.
    fn read_down(
        &self,
        at: Option<&[u8]>,
        start: Option<Suffix>,
        lower: &[u8],
        gap: Gap,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Flow,
    ) -> Flow {
        let to_scan_end = gap.from[..] <= *lower;
        let from = if to_scan_end { lower } else { &gap.from[..] };
        let mut kept = Keeping::down(gap.wanted, start);
        let flow = self.read(from, at, Direction::Down, &mut kept, visit)?;
        if flow.is_continue() {
            let stays_within = to_scan_end && !self.stretch.is_first;
            kept.end_down(if stays_within { Suffix::from_slice(lower) } else { gap.from });
        } else {
            kept.end_here();
        }
        self.keep(kept);
        Ok(flow)
    }

    /// Reads and shows rows of the store from `from` to `to`, and adds them to what is kept. Breaks if the visitor does.
    fn read(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        direction: Direction,
        kept: &mut Keeping,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Flow,
    ) -> Flow {
        let (lower, upper) = (self.row_at(Some(from)), self.row_at(to));
        let mut flow = ControlFlow::Continue(());
        let read = self.txn.view.scan(self.family, &lower, &upper, direction, |row, value| {
            let key = row.get(PLACE_LEN..).unwrap_or_default();
            if flow.is_continue() {
                flow = visit(row, value)?;
            } else if !kept.is_short() {
                return Ok(ControlFlow::Break(()));
            }
            kept.add(key, value);
            Ok::<_, Stop>(if flow.is_break() && !kept.is_short() { flow } else { ControlFlow::Continue(()) })
        });
        // What lies further on than the visitor wanted may be cold: then it is not kept.
        if flow.is_continue() {
            read?;
        }
        Ok(flow)
    }

    fn keep(&self, kept: Keeping) {
        if !kept.blocks.is_empty() {
            self.txn.keyspace.hot.fill_stretch(&self.name, kept.blocks);
        }
    }
}

/// Rows on their way into blocks, as a scan comes upon them.
struct Keeping {
    /// More rows may come in.
    open: bool,
    direction: Direction,
    rows: usize,
    blocks: SmallVec<[Block; 4]>,
    /// Being filled; downwards, its rows stand in the opposite order.
    block: Block,
    /// Downwards, where it ends.
    to: Option<Suffix>,
}

impl Keeping {
    fn new(open: bool, direction: Direction, start: Suffix) -> Keeping {
        let block = Block::starting_at(start);
        Keeping { open, direction, rows: 0, blocks: SmallVec::new(), block, to: None }
    }

    fn down(open: bool, to: Option<Suffix>) -> Keeping {
        Keeping { to, ..Keeping::new(open, Direction::Down, Suffix::new()) }
    }

    /// So few rows were read that it is worth while to read some more.
    fn is_short(&self) -> bool {
        self.open && self.rows < ROWS_READ_MIN
    }

    fn add(&mut self, key: &[u8], value: &[u8]) {
        if !self.open {
            return;
        }
        if key.len() + value.len() > ROW_BYTES_MAX {
            // What lies before it is complete up to there.
            match self.direction {
                Direction::Up => self.cut_up(Some(Suffix::from_slice(key))),
                Direction::Down => self.cut_down(behind(key)),
            }
            self.open = false;
            return;
        }
        self.block.push(key, value);
        self.rows += 1;
        if self.block.is_full() {
            self.cut(key);
        }
    }

    /// Ends a block at the row just added.
    fn cut(&mut self, key: &[u8]) {
        match self.direction {
            Direction::Up => self.cut_up(Some(behind(key))),
            Direction::Down => self.cut_down(Suffix::from_slice(key)),
        }
        self.open &= self.blocks.len() < BLOCKS_MAX;
    }

    fn cut_up(&mut self, to: Option<Suffix>) {
        let next = Block::starting_at(to.clone().unwrap_or_default());
        let mut block = std::mem::replace(&mut self.block, next);
        block.set_to(to);
        self.blocks.push(block);
    }

    fn cut_down(&mut self, from: Suffix) {
        let block = std::mem::replace(&mut self.block, Block::starting_at(Suffix::new()));
        let to = self.to.replace(from.clone());
        self.blocks.push(block.turned(from, to));
    }

    /// There are no more rows up to here.
    fn end_up(&mut self, to: Option<Suffix>) {
        match self.blocks.last_mut() {
            _ if !self.open => {}
            Some(last) if self.block.rows() == 0 => last.set_to(to),
            _ => self.cut_up(to),
        }
    }

    /// There are no more rows down to here.
    fn end_down(&mut self, from: Suffix) {
        match self.blocks.last_mut() {
            _ if !self.open => {}
            Some(last) if self.block.rows() == 0 => last.set_from(from),
            _ => self.cut_down(from),
        }
    }

    /// Behind the last row nothing is known.
    fn end_here(&mut self) {
        let last = self.block.iter().last().map(|(key, _)| Suffix::from_slice(key));
        if let (true, Some(last)) = (self.open, last) {
            self.cut(&last);
        }
    }
}
