//! The two ends of a spread sorted set, as its head remembers them.
//!
//! A pop deletes the outermost row, and in RocksDB a deleted row stays as a tombstone until a compaction. A queue that looked for its
//! first row from the start would walk over the tombstones of all earlier pops. So the head keeps, for each end:
//!
//! - `bound`: no row lies outside of it, but for
//! - `rows`: the outermost rows, exact and without a gap.
//!
//! As long as nothing is taken from an end, `rows` is empty there and `bound` is moved outwards by what is added. Once the outermost
//! row is removed, the next few are read from `bound` on and kept in `rows` (`types::zset::rows` does it). From then on pops are
//! answered from `rows`, and whatever is added outside of `bound` goes in there, too, up to 128 rows or 4 KB: so the stretch of
//! tombstones between a new outermost row and the older ones is not walked. What is added further in than `bound` leaves the head as
//! small as it is.
//!
//! ```text
//! extra of a spread sorted set = | rows of the low end 1 | low bound | low rows ... | high bound | high rows ... |
//! each bound and row           = | len varint | ordered score 8, member bytes |
//! ```
//!
//! The low bound is the lowest that may be there, the high bound the lowest that may not. Rows outermost first. Elements longer than
//! `ELEMENT_LEN_MAX` are not kept as rows, and cut when they make a bound.

use crate::encoding::Damaged;
use crate::encoding::packed::{Entries, write_entry};
use crate::encoding::row::{RowKey, successor};

/// Rows read at a time: so many pops need no scan.
pub const ROWS_READ: usize = 4;
/// Most rows kept for one end, and their bytes: what is added outside of the bound.
const ROWS_MAX: usize = 128;
const ROWS_BYTES_MAX: usize = 4096;
/// Longest element (score and member) kept as it is.
pub const ELEMENT_LEN_MAX: usize = 72;

/// An end of a sorted set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where the lowest score is.
    Low,
    /// Where the highest score is.
    High,
}

/// What the head remembers of one end. Elements are what follows the place in a score row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    side: Side,
    bound: RowKey,
    /// None at all where nothing is taken.
    rows: Vec<RowKey>,
    stale: bool,
}

impl Edge {
    /// The end of a collection whose outermost element is this one.
    pub fn at(side: Side, outermost: &[u8]) -> Edge {
        Edge { side, bound: bound_around(side, outermost), rows: Vec::new(), stale: false }
    }

    /// Where a scan of the whole collection may begin (low: included) or must end (high: excluded).
    pub fn limit(&self) -> RowKey {
        match self.rows.first() {
            Some(row) => bound_around(self.side, row),
            None => self.bound.clone(),
        }
    }

    /// No row but the known ones lies outside of this.
    pub fn bound(&self) -> &[u8] {
        &self.bound
    }

    /// The outermost elements, as far as they are known.
    pub fn rows(&self) -> &[RowKey] {
        &self.rows
    }

    /// The rows behind the known ones must be read: the end is being taken from, and no row of it is known.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    fn is_too_large(&self) -> bool {
        self.rows.len() > ROWS_MAX
            || (self.rows.len() * ELEMENT_LEN_MAX > ROWS_BYTES_MAX
                && self.rows.iter().map(|row| row.len()).sum::<usize>() > ROWS_BYTES_MAX)
    }

    fn is_outside(&self, element: &[u8]) -> bool {
        match self.side {
            Side::Low => *element < self.bound[..],
            Side::High => *element >= self.bound[..],
        }
    }

    /// Takes note of a new row.
    pub fn add(&mut self, element: &[u8]) {
        if !self.is_outside(element) {
            return;
        }
        if element.len() > ELEMENT_LEN_MAX {
            let before = self.rows.iter().take_while(|row| comes_before(self.side, row, element)).count();
            self.rows.truncate(before);
            self.bound = bound_around(self.side, element);
            self.stale = false;
        } else if self.rows.is_empty() && !self.stale {
            self.bound = bound_around(self.side, element);
        } else {
            let before = self.rows.iter().take_while(|row| comes_before(self.side, row, element)).count();
            self.rows.insert(before, RowKey::from_slice(element));
            self.stale = false;
            while self.is_too_large()
                && let Some(dropped) = self.rows.pop()
            {
                self.bound = bound_around(self.side, &dropped);
            }
        }
    }

    /// Takes note of a row that is gone.
    pub fn remove(&mut self, element: &[u8]) {
        if let Some(at) = self.rows.iter().position(|row| row[..] == *element) {
            self.rows.remove(at);
            self.stale |= self.rows.is_empty();
        } else if self.rows.is_empty() && bound_around(self.side, element) == self.bound {
            self.bound = bound_behind(self.side, element);
            self.stale = true;
        }
    }

    /// Takes note that no row is left from `lower` (included) to `upper` (excluded).
    pub fn remove_between(&mut self, lower: &[u8], upper: &[u8]) {
        let known = self.rows.len();
        self.rows.retain(|row| row[..] < *lower || row[..] >= *upper);
        // A cut bound may stand for a row that lies further in: then what is left is looked for, but from the same bound.
        let touched = match self.side {
            Side::Low => cut(lower) <= &self.bound[..] && *upper > self.bound[..],
            Side::High => ceiling(upper) >= self.bound && *lower < self.bound[..],
        };
        match self.side {
            Side::Low if touched && *lower <= self.bound[..] => {
                self.bound = RowKey::from_slice(cut(upper)).max(self.bound.clone());
            }
            Side::High if touched && *upper >= self.bound[..] => {
                self.bound = ceiling(lower).min(self.bound.clone());
            }
            _ => {}
        }
        self.stale |= self.rows.is_empty() && (touched || known > 0);
    }

    /// The rows found from the bound on, outermost first: up to `ROWS_READ` and one more.
    pub fn refill(&mut self, found: &[RowKey]) {
        self.stale = false;
        self.rows.clear();
        for (at, element) in found.iter().enumerate() {
            if at == ROWS_READ || element.len() > ELEMENT_LEN_MAX {
                self.bound = bound_around(self.side, element);
                return;
            }
            self.rows.push(element.clone());
        }
        if let Some(last) = found.last() {
            self.bound = bound_behind(self.side, last);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_entry(out, &self.bound);
        self.rows.iter().for_each(|row| write_entry(out, row));
    }

    fn read(side: Side, entries: &mut Entries<'_>, rows: Option<usize>) -> Result<Edge, Damaged> {
        let bound = entries.next().unwrap_or(Err(Damaged("sorted set without its bounds")))?;
        let mut known = Vec::new();
        for row in entries.take(rows.unwrap_or(usize::MAX)) {
            known.push(RowKey::from_slice(row?));
        }
        Ok(Edge { side, bound: RowKey::from_slice(bound), rows: known, stale: false })
    }
}

/// Writes both ends, low then high.
pub fn write_edges(out: &mut Vec<u8>, low: &Edge, high: &Edge) {
    out.push(low.rows.len() as u8);
    low.write(out);
    high.write(out);
}

/// Reads what `write_edges` wrote.
pub fn read_edges(extra: &[u8]) -> Result<(Edge, Edge), Damaged> {
    let (&low_rows, entries) = extra.split_first().ok_or(Damaged("sorted set without its ends"))?;
    let mut entries = Entries::over(entries);
    let low = Edge::read(Side::Low, &mut entries, Some(usize::from(low_rows)))?;
    let high = Edge::read(Side::High, &mut entries, None)?;
    if low.rows.len() != usize::from(low_rows) || high.rows.len() > ROWS_MAX {
        return Err(Damaged("sorted set with ends of a wrong length"));
    }
    Ok((low, high))
}

/// Whether `a` lies further out than `b`.
fn comes_before(side: Side, a: &[u8], b: &[u8]) -> bool {
    match side {
        Side::Low => a < b,
        Side::High => a > b,
    }
}

fn cut(element: &[u8]) -> &[u8] {
    element.get(..ELEMENT_LEN_MAX).unwrap_or(element)
}

/// The lowest bytes at or above `element` that are short enough.
fn ceiling(element: &[u8]) -> RowKey {
    if element.len() > ELEMENT_LEN_MAX { successor(cut(element)) } else { RowKey::from_slice(element) }
}

/// The byte string right after this one.
fn next(element: &[u8]) -> RowKey {
    let mut next = RowKey::from_slice(element);
    next.push(0);
    next
}

/// The tightest bound with the element inside.
fn bound_around(side: Side, element: &[u8]) -> RowKey {
    match side {
        Side::Low => RowKey::from_slice(cut(element)),
        Side::High if element.len() > ELEMENT_LEN_MAX => successor(cut(element)),
        Side::High => next(element),
    }
}

/// The tightest bound with the element, which is gone or known, outside.
fn bound_behind(side: Side, element: &[u8]) -> RowKey {
    match side {
        Side::Low if element.len() > ELEMENT_LEN_MAX => RowKey::from_slice(cut(element)),
        Side::Low => next(element),
        Side::High => ceiling(element),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn the_extra_is_low_rows_then_bounds_and_rows_of_both_ends() {
        let mut low = Edge::at(Side::Low, b"12345678a");
        let high = Edge::at(Side::High, b"12345678c");
        let mut out = Vec::new();
        write_edges(&mut out, &low, &high);
        assert_eq!(out, b"\x00\x0912345678a\x0a12345678c\x00");
        low.remove(b"12345678a");
        low.refill(&[RowKey::from_slice(b"12345678b")]);
        out.clear();
        write_edges(&mut out, &low, &high);
        assert_eq!(out, b"\x01\x0a12345678b\x00\x0912345678b\x0a12345678c\x00");
        assert_eq!(read_edges(&out), Ok((low, high)));
        for len in 0..out.len() {
            assert!(read_edges(&out[..len]).is_err(), "accepted ends cut at {len}");
        }
    }

    #[test]
    fn an_end_that_overflows_keeps_the_outermost_and_a_tight_bound() {
        for (len, kept) in [(10, ROWS_MAX), (70, ROWS_BYTES_MAX / 70)] {
            let element = |number: u32| format!("{number:0len$}").into_bytes();
            let mut low = Edge::at(Side::Low, &element(500));
            low.remove(&element(500));
            (0..400).rev().for_each(|number| low.add(&element(number)));
            assert_eq!(low.rows.len(), kept);
            assert_eq!(low.rows[0][..], element(0)[..]);
            assert_eq!(low.bound[..], element(kept as u32)[..]);
        }
    }

    /// Every promise an edge makes about the rows that are there.
    fn assert_true(edge: &Edge, model: &BTreeSet<Vec<u8>>) {
        let outermost: Vec<&Vec<u8>> = match edge.side {
            Side::Low => model.iter().collect(),
            Side::High => model.iter().rev().collect(),
        };
        let known = edge.rows.len();
        let heads: Vec<&[u8]> = edge.rows.iter().map(|row| &row[..]).collect();
        assert_eq!(heads, outermost[..known].iter().map(|row| &row[..]).collect::<Vec<_>>());
        for row in &outermost[known..] {
            assert!(!edge.is_outside(row), "{row:?} lies outside of {edge:?}");
        }
        if let Some(first) = outermost.first() {
            assert_eq!(edge.limit()[..], bound_around(edge.side, first)[..], "the limit is tight");
        }
    }

    #[test]
    fn any_sequence_of_changes_leaves_true_bounds() {
        let mut rng = Rng::new(9);
        for round in 0..400 {
            let mut model = BTreeSet::from([b"mmmmmmmm".to_vec()]);
            let mut edges = [Side::Low, Side::High].map(|side| Edge::at(side, b"mmmmmmmm"));
            for _ in 0..if round % 7 == 0 { 1000 } else { 60 } {
                let mut element = vec![b'a' + rng.below(20) as u8; 8];
                if round % 7 == 0 {
                    // Many different ones, so that an end overflows.
                    element[7] = rng.below(256) as u8;
                }
                if round % 2 == 1 && rng.below(3) == 0 {
                    element.resize(80, b'x');
                    element.push(b'a' + rng.below(3) as u8);
                }
                match rng.below(8) {
                    0..=3 => {
                        if model.insert(element.clone()) {
                            edges.iter_mut().for_each(|edge| edge.add(&element));
                        }
                    }
                    4 => {
                        let upper = vec![element[0] + rng.below(4) as u8];
                        model.retain(|row| *row < element || *row >= upper);
                        if element < upper {
                            edges.iter_mut().for_each(|edge| edge.remove_between(&element, &upper));
                        }
                    }
                    pick => {
                        let gone = match pick {
                            5 => model.first().cloned(),
                            6 => model.last().cloned(),
                            _ => model.contains(&element).then_some(element),
                        };
                        if let Some(gone) = gone {
                            model.remove(&gone);
                            edges.iter_mut().for_each(|edge| edge.remove(&gone));
                        }
                    }
                }
                if model.is_empty() {
                    break;
                }
                for edge in &mut edges {
                    if edge.is_stale() {
                        let found: Vec<RowKey> = match edge.side {
                            Side::Low => {
                                let from = edge.bound.to_vec();
                                model.range(from..).take(5).map(|row| RowKey::from_slice(row)).collect()
                            }
                            Side::High => {
                                let to = edge.bound.to_vec();
                                model.range(..to).rev().take(5).map(|row| RowKey::from_slice(row)).collect()
                            }
                        };
                        edge.refill(&found);
                    }
                    assert_true(edge, &model);
                }
            }
        }
    }
}
