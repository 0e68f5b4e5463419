//! Rows in the order of their positions: how fields of hashes, members of sets and members of sorted sets lie when spread. A position
//! is 53 bits of the name's hash; the name follows it in the row key.
//!
//! A page is the rows from a cursor on, as many as asked for; the next cursor is the position of the first row left out. Rows of one
//! position are never parted, so no element that stays is missed, whatever comes and goes meanwhile.

use crate::encoding::row::{POSITION_END, Place, Position, split_field_row};
use crate::encoding::{Damaged, Family};
use crate::keyspace::{Direction, Outcome, Stretch, Txn};
use std::ops::{ControlFlow, Range};

/// Visits the rows of a collection within a range of positions, in order: position, name, value. What is visited again and again is kept in
/// memory.
pub fn walk(
    txn: &mut Txn<'_>,
    family: Family,
    place: Place,
    positions: Range<u64>,
    visit: impl FnMut(Position, &[u8], &[u8]) -> ControlFlow<()>,
) -> Outcome {
    walk_rows(txn, family, place, positions, true, visit)
}

fn walk_rows(
    txn: &mut Txn<'_>,
    family: Family,
    place: Place,
    positions: Range<u64>,
    is_kept: bool,
    mut visit: impl FnMut(Position, &[u8], &[u8]) -> ControlFlow<()>,
) -> Outcome {
    if positions.is_empty() {
        return Ok(());
    }
    let lower = place.element_at(Position(positions.start));
    let upper = match positions.end {
        end if end < POSITION_END => place.element_at(Position(end)),
        _ => place.end(),
    };
    let visit = |row: &[u8], value: &[u8]| {
        let Some((position, name)) = split_field_row(row) else {
            return Err(Damaged("element without its position").into());
        };
        Ok(visit(position, name, value))
    };
    if is_kept {
        let (is_first, is_last) = (positions.start == 0, positions.end >= POSITION_END);
        let stretch = Stretch { lower: &lower, upper: &upper, is_first, is_last };
        return txn.scan_kept(family, stretch, Direction::Up, visit);
    }
    txn.scan(family, &lower, &upper, Direction::Up, visit)
}

/// Visits about `rows` of a collection's `count` rows from a cursor on: name, value. Gives the next cursor, 0 at the end.
pub fn page(
    txn: &mut Txn<'_>,
    family: Family,
    place: Place,
    count: u64,
    cursor: u64,
    rows: u64,
    mut visit: impl FnMut(&[u8], &[u8]),
) -> Outcome<u64> {
    txn.expect_work(rows.min(count))?;
    let (mut left, mut last, mut next) = (rows, None, 0);
    // Who has begun goes on to the next page, and is not seen here again.
    let (positions, is_kept) = (cursor.min(POSITION_END)..POSITION_END, cursor == 0);
    walk_rows(txn, family, place, positions, is_kept, |position, name, value| {
        if left == 0 && last != Some(position) {
            next = position.0;
            return ControlFlow::Break(());
        }
        left = left.saturating_sub(1);
        last = Some(position);
        visit(name, value);
        ControlFlow::Continue(())
    })?;
    Ok(next)
}
