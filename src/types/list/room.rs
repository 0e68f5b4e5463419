//! Making room in a spread list: an element goes into the middle of the gap between two rows; when they have become neighbours without a
//! gap, the rows around are moved apart.
//!
//! The rows moved are a window around the gap, 16 on each side at first. It is doubled until its rows, laid out at equal steps
//! between the two rows that bound it, stand at least `gap_min` apart: the square root of their number. So a larger window is left
//! looser than the smaller ones in it need to be, and as many insertions as it has rows must come before it is moved again: moving
//! costs an insertion O(log n) rows on average, whatever the spot. A window that reaches an end of the list takes the free
//! positions beyond it and needs no more; one that holds the whole list leaves it even.
//!
//! An insertion at one spot, over and over, moves 33 rows every 15th time as long as the rows around were pushed.

use super::End;
use super::listpack;
use super::rows::{POSITION_MAX, Rows, STRIDE};
use crate::encoding::Family;
use crate::keyspace::{Key, Outcome, Txn};
use std::ops::ControlFlow;

/// Rows moved on each side of the gap, at first.
const HALF_WINDOW_MIN: usize = 16;

/// Puts an element between two neighbouring rows, which may have to move. The caller saves the head.
pub(super) fn insert_between(
    txn: &mut Txn<'_>,
    key: &Key,
    rows: &mut Rows,
    low: i64,
    high: i64,
    element: &[u8],
) -> Outcome {
    rows.even = false;
    if high - low > 1 {
        txn.insert_element(key, Family::List, &rows.place.index_row(low + (high - low) / 2), element)?;
    } else {
        move_apart(txn, key, rows, low, high, element)?;
    }
    rows.count += 1;
    rows.listpack_bytes += listpack::element_bytes(element);
    Ok(())
}

/// A row and where it lies.
type Row = (i64, Vec<u8>);

/// The rows on one side of the gap.
struct Half {
    /// The nearest to the gap first.
    rows: Vec<Row>,
    /// The row beyond, which stays; none at the list's end.
    bound: Option<i64>,
}

fn move_apart(txn: &mut Txn<'_>, key: &Key, rows: &mut Rows, low: i64, high: i64, element: &[u8]) -> Outcome {
    let mut half_window = HALF_WINDOW_MIN;
    loop {
        txn.expect_work(2 * half_window as u64)?;
        let before = gather(txn, rows, low, End::Back, half_window)?;
        let behind = gather(txn, rows, high, End::Front, half_window)?;
        let count = before.rows.len() + 1 + behind.rows.len();
        let Some(layout) = Layout::of(before.bound, behind.bound, count as i64) else {
            half_window *= 2;
            continue;
        };
        if before.bound.is_none() {
            rows.first = layout.position(0);
        }
        if behind.bound.is_none() {
            rows.last = layout.position(count - 1);
        }
        rows.even = before.bound.is_none() && behind.bound.is_none();
        let new = std::iter::once((None, element));
        let old = |(position, bytes)| (Some(position), bytes);
        let all: Vec<(Option<i64>, &[u8])> = (before.rows.iter().rev().map(as_slice).map(old))
            .chain(new)
            .chain(behind.rows.iter().map(as_slice).map(old))
            .collect();
        let moved = |nth: usize, from: Option<i64>| from != Some(layout.position(nth));
        for (nth, (from, _)) in all.iter().enumerate() {
            if let (true, Some(from)) = (moved(nth, *from), *from) {
                txn.delete_element(key, Family::List, &rows.place.index_row(from))?;
            }
        }
        for (nth, (from, bytes)) in all.iter().enumerate() {
            if moved(nth, *from) {
                let row = rows.place.index_row(layout.position(nth));
                txn.insert_element(key, Family::List, &row, bytes)?;
            }
        }
        return Ok(());
    }
}

fn as_slice((position, bytes): &Row) -> (i64, &[u8]) {
    (*position, bytes)
}

/// The rows from a position on, away from the gap: towards the list's front if looked at from the back.
fn gather(txn: &mut Txn<'_>, rows: &Rows, start: i64, from: End, count: usize) -> Outcome<Half> {
    let mut half = Half { rows: Vec::with_capacity(count), bound: None };
    let (first, last) = match from {
        End::Front => (start, rows.last),
        End::Back => (rows.first, start),
    };
    rows.visit_between(txn, first, last, from, |position, element| {
        if half.rows.len() == count {
            half.bound = Some(position);
            return Ok(ControlFlow::Break(()));
        }
        half.rows.push((position, element.to_vec()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(half)
}

/// Where the rows of a window go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    first: i64,
    step: i64,
}

impl Layout {
    /// For so many rows between two that stay, or beyond one; none when there is too little room.
    fn of(low: Option<i64>, high: Option<i64>, count: i64) -> Option<Layout> {
        let length = count.checked_mul(STRIDE)?;
        let (first, step) = match (low, high) {
            (Some(low), Some(high)) => {
                let step = (high - low) / (count + 1);
                (step >= gap_min(count)).then_some((low + step, step))?
            }
            (Some(low), None) => (low + STRIDE, STRIDE),
            (None, Some(high)) => (high - length, STRIDE),
            (None, None) => (-(length / 2), STRIDE),
        };
        let last = first.checked_add((count - 1).checked_mul(step)?)?;
        (first >= -POSITION_MAX && last <= POSITION_MAX).then_some(Layout { first, step })
    }

    fn position(&self, nth: usize) -> i64 {
        self.first + nth as i64 * self.step
    }
}

/// How far apart the rows of a window must come to lie.
fn gap_min(count: i64) -> i64 {
    count.isqrt().max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_laid_out_at_equal_steps_between_those_that_stay() {
        assert_eq!(Layout::of(Some(0), Some(400), 3), Some(Layout { first: 100, step: 100 }));
        assert_eq!(Layout::of(Some(-10), Some(-2), 3), Some(Layout { first: -8, step: 2 }));
        assert_eq!(Layout::of(Some(0), Some(7), 3), None, "a step of 1 leaves no room");
        assert_eq!(Layout::of(Some(0), Some(99 * 101), 100), Some(Layout { first: 99, step: 99 }));
        assert_eq!(Layout::of(Some(0), Some(9 * 101), 100), None, "100 rows are to stand 10 apart");
    }

    #[test]
    fn a_window_at_an_end_takes_the_positions_beyond() {
        let step = STRIDE;
        assert_eq!(Layout::of(Some(5), None, 3), Some(Layout { first: 5 + STRIDE, step }));
        let layout = Layout::of(None, Some(5), 3).unwrap();
        assert_eq!((layout.position(0), layout.position(2)), (5 - 3 * STRIDE, 5 - STRIDE));
        assert_eq!(Layout::of(None, None, 4), Some(Layout { first: -2 * STRIDE, step }));
        assert_eq!(Layout::of(Some(POSITION_MAX - 2 * STRIDE), None, 3), None, "past the last position");
        assert_eq!(Layout::of(None, Some(2 * STRIDE - POSITION_MAX), 3), None);
    }
}
