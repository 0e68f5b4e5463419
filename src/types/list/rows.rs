//! A spread list's rows: where they lie, and how the nth is found.
//!
//! Each element has a row under a *position*, a signed number; the list's order is the order of the positions. A push goes one
//! `STRIDE` beyond the outermost row, so between two neighbours that were pushed there is room to insert. The head knows the first and
//! the last position, so nothing ever looks where popped rows were.
//!
//! A list whose positions are exactly `first + n * STRIDE` is *even*: the nth row is found by arithmetic. Pushes, pops and trims keep it
//! so. A removal or an insertion in the middle makes it uneven: then the nth row is counted from an end when it is near one, and
//! otherwise asked of `Txn::row_at`. A list with one row, or two at one stride, is even again.
//!
//! ```text
//! extra of a spread list = | first position 8 | last position 8 | listpack bytes 8 | flags 1 |     positions offset by 2^63
//!                          flags: bit 0: uneven; the other bits 0
//! ```

use super::{End, listpack};
use crate::encoding::head::{Spread, read_u64};
use crate::encoding::row::{PLACE_LEN, Place};
use crate::encoding::{Damaged, Family};
use crate::keyspace::{Direction, Key, Outcome, Stop, Stretch, Txn};
use crate::types::pages::Pages;
use smallvec::SmallVec;
use std::ops::{ControlFlow, Range};

/// Between two elements pushed one after the other. Room for 16 insertions at one spot before rows must move, and for 2^46 pushes
/// at each end before the positions run out: two years of a million a second into a list that never is empty.
pub(super) const STRIDE: i64 = 1 << 16;
/// Positions lie between this and its negative.
pub(super) const POSITION_MAX: i64 = 1 << 62;
/// Up to so many elements of an even list are read one by one, through the memory tier; more in one scan.
const SINGLE_READS_MAX: u64 = 16;
/// A row of an uneven list so near an end is counted from there; a farther one is asked of the ranks.
const NEAR_ROWS_MAX: u64 = 128;
/// Bytes of a head's extra.
pub(super) const EXTRA_LEN: usize = 25;

const POSITION_OFFSET: u64 = 1 << 63;
const FLAG_UNEVEN: u8 = 1;

/// A spread list as its head describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) place: Place,
    /// Where the first row is; meaningless in an empty list.
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: u64,
    pub(super) listpack_bytes: u64,
    pub(super) even: bool,
}

impl Rows {
    /// A list without rows.
    pub(super) fn new(place: Place) -> Rows {
        Rows { place, first: 0, last: 0, count: 0, listpack_bytes: listpack::EMPTY_BYTES, even: true }
    }

    pub(super) fn decode(spread: Spread<'_>) -> Result<Rows, Damaged> {
        let extra: &[u8; EXTRA_LEN] =
            spread.extra.try_into().map_err(|_| Damaged("list head of the wrong length"))?;
        let (first, rest) = extra.split_at(8);
        let (last, rest) = rest.split_at(8);
        let (bytes, flags) = rest.split_at(8);
        let position = |bytes| Ok::<_, Damaged>((read_u64(bytes)? ^ POSITION_OFFSET) as i64);
        let (first, last) = (position(first)?, position(last)?);
        let even = flags[0] & FLAG_UNEVEN == 0;
        let rows = Rows {
            place: spread.place,
            first,
            last,
            count: spread.count,
            listpack_bytes: read_u64(bytes)?,
            even,
        };
        if flags[0] & !FLAG_UNEVEN != 0 || !rows.is_sane() {
            return Err(Damaged("list head that makes no sense"));
        }
        Ok(rows)
    }

    /// Whether so many rows can lie so; all arithmetic on positions relies on it.
    fn is_sane(&self) -> bool {
        let in_bounds = -POSITION_MAX <= self.first && self.first <= self.last && self.last <= POSITION_MAX;
        let Some(steps) = self.count.checked_sub(1) else { return false };
        let span = self.last.wrapping_sub(self.first) as u64;
        let as_if_even = steps.checked_mul(STRIDE as u64) == Some(span);
        in_bounds && if self.even { as_if_even } else { span >= steps }
    }

    pub(super) fn extra(&self) -> [u8; EXTRA_LEN] {
        let mut extra = [0; EXTRA_LEN];
        extra[..8].copy_from_slice(&((self.first as u64) ^ POSITION_OFFSET).to_be_bytes());
        extra[8..16].copy_from_slice(&((self.last as u64) ^ POSITION_OFFSET).to_be_bytes());
        extra[16..24].copy_from_slice(&self.listpack_bytes.to_be_bytes());
        extra[24] = if self.even { 0 } else { FLAG_UNEVEN };
        extra
    }

    /// Where the next element goes that is pushed at an end; none when the positions have run out there.
    pub(super) fn next_position(&self, end: End) -> Option<i64> {
        if self.count == 0 {
            return Some(0);
        }
        match end {
            End::Front => self.first.checked_sub(STRIDE).filter(|&position| position >= -POSITION_MAX),
            End::Back => self.last.checked_add(STRIDE).filter(|&position| position <= POSITION_MAX),
        }
    }

    /// All rows, a page at a time.
    pub(super) fn pages(&self, page_rows: usize) -> Pages {
        let to = self.place.index_row(self.last.saturating_add(1));
        Pages::between(Family::List, self.place, self.place.index_row(self.first), to, page_rows)
    }

    /// Takes note of an element put at an end.
    pub(super) fn grow(&mut self, end: End, position: i64, element: &[u8]) {
        if self.count == 0 {
            (self.first, self.last) = (position, position);
        }
        match end {
            End::Front => self.first = position,
            End::Back => self.last = position,
        }
        self.count += 1;
        self.listpack_bytes += listpack::element_bytes(element);
    }

    /// Sees whether a list that was uneven, or may have become so, is even: few rows can only lie so.
    pub(super) fn look_whether_even(&mut self, was_even: bool) {
        let span = self.last.wrapping_sub(self.first) as u64;
        let as_if_even = self.count > 0 && span == (self.count - 1).wrapping_mul(STRIDE as u64);
        self.even = as_if_even && (was_even || self.count <= 2);
    }

    /// Where the nth row is.
    pub(super) fn locate(&self, txn: &mut Txn<'_>, nth: u64) -> Outcome<i64> {
        if nth >= self.count {
            return Err(miscounted());
        }
        let from_end = self.count - 1 - nth;
        if nth == 0 {
            return Ok(self.first);
        }
        if from_end == 0 {
            return Ok(self.last);
        }
        if self.even {
            return Ok(self.first + nth as i64 * STRIDE);
        }
        let near = nth.min(from_end);
        if near <= NEAR_ROWS_MAX {
            let end = if nth <= from_end { End::Front } else { End::Back };
            let mut met = 0;
            let mut found = None;
            self.visit(txn, end, |position, _| {
                met += 1;
                found = (met > near).then_some(position);
                Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            return found.ok_or_else(miscounted);
        }
        let (first, end) =
            (self.place.index_row(self.first), self.place.index_row(self.last.saturating_add(1)));
        let row =
            txn.row_at(Family::List, self.place, self.count, (&first, &end), nth)?.ok_or_else(miscounted)?;
        Ok(position_of(&row)?)
    }

    /// Shows the rows with their positions, from an end on, until the visitor breaks. A worker gives up after too many.
    pub(super) fn visit(
        &self,
        txn: &mut Txn<'_>,
        from: End,
        visit: impl FnMut(i64, &[u8]) -> Outcome<ControlFlow<()>>,
    ) -> Outcome {
        self.visit_between(txn, self.first, self.last, from, visit)
    }

    /// The same for the rows between two positions, both included.
    pub(super) fn visit_between(
        &self,
        txn: &mut Txn<'_>,
        first: i64,
        last: i64,
        from: End,
        mut visit: impl FnMut(i64, &[u8]) -> Outcome<ControlFlow<()>>,
    ) -> Outcome {
        let (lower, upper) = (self.place.index_row(first), self.place.index_row(last.saturating_add(1)));
        let direction = match from {
            End::Front => Direction::Up,
            End::Back => Direction::Down,
        };
        let steps_max = txn.steps_max();
        let mut steps = 0;
        let (is_first, is_last) = (first == self.first, last == self.last);
        let stretch = Stretch { lower: &lower, upper: &upper, is_first, is_last };
        txn.scan_kept(Family::List, stretch, direction, |row, element| {
            if steps == steps_max {
                return Err(Stop::Heavy);
            }
            steps += 1;
            visit(position_of(row)?, element)
        })
    }

    /// Shows the rows of a range of the list, beginning at the range's front or back.
    pub(super) fn walk(
        &self,
        txn: &mut Txn<'_>,
        range: Range<u64>,
        from: End,
        mut visit: impl FnMut(i64, &[u8]),
    ) -> Outcome {
        let wanted = range.end.saturating_sub(range.start);
        if wanted == 0 {
            return Ok(());
        }
        let at_end = range.start == 0 || range.end == self.count;
        if wanted <= SINGLE_READS_MAX && (self.even || (wanted == 1 && at_end)) {
            for step in 0..wanted {
                let nth = match from {
                    End::Front => range.start + step,
                    End::Back => range.end - 1 - step,
                };
                let position = self.locate(txn, nth)?;
                let element = txn.element(Family::List, &self.place.index_row(position))?;
                visit(position, &element.ok_or_else(miscounted)?);
            }
            return Ok(());
        }
        let (first, last) = match from {
            End::Front => (self.locate(txn, range.start)?, self.last),
            End::Back => (self.first, self.locate(txn, range.end - 1)?),
        };
        let mut left = wanted;
        self.visit_between(txn, first, last, from, |position, element| {
            visit(position, element);
            left -= 1;
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if left == 0 { Ok(()) } else { Err(miscounted()) }
    }

    /// Pushes elements one after the other. The caller saves the head.
    pub(super) fn push<'e>(
        &mut self,
        txn: &mut Txn<'_>,
        key: &Key,
        end: End,
        elements: impl Iterator<Item = &'e [u8]>,
    ) -> Outcome {
        for element in elements {
            let position = match self.next_position(end) {
                Some(position) => position,
                None => {
                    self.move_to_new_place(txn, key)?;
                    self.next_position(end).ok_or_else(miscounted)?
                }
            };
            txn.insert_element(key, Family::List, &self.place.index_row(position), element)?;
            self.grow(end, position, element);
        }
        Ok(())
    }

    /// Writes all rows anew under a new place, even, around position 0. The old ones die when the head is saved.
    pub(super) fn move_to_new_place(&mut self, txn: &mut Txn<'_>, key: &Key) -> Outcome {
        txn.expect_work(self.count)?;
        let mut bytes = Vec::new();
        let mut ends: SmallVec<[usize; 16]> = SmallVec::new();
        self.visit(txn, End::Front, |_, element| {
            bytes.extend_from_slice(element);
            ends.push(bytes.len());
            Ok(ControlFlow::Continue(()))
        })?;
        if ends.len() as u64 != self.count {
            return Err(miscounted());
        }
        self.place = txn.new_place(key);
        self.first = -(self.count as i64 / 2) * STRIDE;
        let (mut start, mut position) = (0, self.first);
        for end in ends {
            txn.put_element(key, Family::List, &self.place.index_row(position), &bytes[start..end])?;
            (start, self.last) = (end, position);
            position += STRIDE;
        }
        self.even = true;
        Ok(())
    }
}

/// The position in a list's element row.
pub(super) fn position_of(row: &[u8]) -> Result<i64, Damaged> {
    let bytes = row.get(PLACE_LEN..).ok_or(Damaged("list row without a position"))?;
    position_in(bytes)
}

/// The same in what follows the place.
pub(super) fn position_in(element: &[u8]) -> Result<i64, Damaged> {
    Ok((read_u64(element)? ^ POSITION_OFFSET) as i64)
}

/// The rows are not what the head says.
pub(super) fn miscounted() -> Stop {
    Stop::Damaged(Damaged("list with fewer elements than its head counts"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::row::{Namespace, Version};

    const PLACE: Place = Place { namespace: Namespace(1), slot: 2, version: Version(3) };

    #[test]
    fn the_extra_is_first_and_last_position_listpack_bytes_and_flags() {
        let rows =
            Rows { place: PLACE, first: -2, last: STRIDE, count: 5, listpack_bytes: 0x0102, even: false };
        let extra = rows.extra();
        assert_eq!(extra, *b"\x7f\xff\xff\xff\xff\xff\xff\xfe\x80\0\0\0\0\x01\0\0\0\0\0\0\0\0\x01\x02\x01");
        let decode = |extra: &[u8], count| Rows::decode(Spread { place: PLACE, count, extra });
        assert_eq!(decode(&extra, 5), Ok(rows));
        let even = Rows { last: 4 * STRIDE - 2, even: true, ..rows };
        assert_eq!((even.extra()[24], decode(&even.extra(), 5)), (0, Ok(even)));
    }

    #[test]
    fn a_damaged_extra_is_refused() {
        let rows = Rows { place: PLACE, first: 1, last: 9, count: 5, listpack_bytes: 7, even: false };
        let good = rows.extra();
        let is_refused = |extra: &[u8]| Rows::decode(Spread { place: PLACE, count: 5, extra }).is_err();
        assert!(!is_refused(&good));
        assert!(
            (0..EXTRA_LEN).all(|len| is_refused(&good[..len])) && is_refused(&[&good[..], b"x"].concat())
        );
        assert!(is_refused(&Rows { first: 10, ..rows }.extra()));
        assert!(is_refused(&Rows { last: POSITION_MAX + 1, ..rows }.extra()));
        assert!(is_refused(&Rows { last: 4, ..rows }.extra()), "five rows at four positions");
        assert!(is_refused(&Rows { even: true, ..rows }.extra()));
        assert!(is_refused(&[&good[..24], b"\x02"].concat()));
        assert!(Rows::decode(Spread { place: PLACE, count: 0, extra: &good }).is_err());
    }

    #[test]
    fn pushes_step_by_the_stride_and_end_at_the_last_position() {
        let mut rows = Rows::new(PLACE);
        rows.grow(End::Front, 0, b"a");
        assert_eq!(
            (rows.next_position(End::Front), rows.next_position(End::Back)),
            (Some(-65536), Some(65536))
        );
        rows.grow(End::Back, 65536, b"a");
        assert_eq!((rows.first, rows.last, rows.count, rows.listpack_bytes), (0, 65536, 2, 7 + 3 + 3));
        let full = Rows { first: STRIDE - POSITION_MAX - 1, last: POSITION_MAX - STRIDE, ..rows };
        assert_eq!(
            (full.next_position(End::Front), full.next_position(End::Back)),
            (None, Some(POSITION_MAX))
        );
    }

    #[test]
    fn only_few_rows_or_those_that_were_even_become_even() {
        let check = |first, last, count, was_even, expected| {
            let mut rows = Rows { place: PLACE, first, last, count, listpack_bytes: 7, even: false };
            rows.look_whether_even(was_even);
            assert_eq!(rows.even, expected, "{first} {last} {count} {was_even}");
        };
        check(5, 5, 1, false, true);
        check(5, 5 + STRIDE, 2, false, true);
        check(5, 6, 2, false, false);
        check(0, 2 * STRIDE, 3, true, true);
        check(0, 2 * STRIDE, 3, false, false);
        check(0, 3 * STRIDE, 3, true, false);
    }
}
