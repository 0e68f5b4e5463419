//! Going through all members: at once in the order of their scores, or page by page (ZSCAN) in the order of their hashes.

use super::read_packed;
use super::rows::Rows;
use crate::encoding::Family;
use crate::encoding::head::Body;
use crate::encoding::row::{POSITION_END, Place, Position, split_field_row};
use crate::encoding::score::{decode_score, read_score_row};
use crate::keyspace::{Direction, Outcome, Stop, Stored, Txn};
use std::ops::{ControlFlow, Range};

/// Visits every member with its score, the lowest first.
pub fn for_each(txn: &mut Txn<'_>, stored: &Stored, mut visit: impl FnMut(&[u8], f64)) -> Outcome {
    match stored.body() {
        Body::Whole(bytes) => {
            read_packed(bytes)?.iter().for_each(|pair| visit(pair.1, pair.0));
            Ok(())
        }
        Body::Spread(spread) => {
            txn.expect_work(spread.count)?;
            let (lower, upper) = Rows::decode(spread)?.limits();
            txn.scan(Family::Score, &lower, &upper, Direction::Up, |row, value| {
                let (score, member) = read_score_row(row, value)?;
                visit(member, score);
                Ok(ControlFlow::Continue(()))
            })
        }
    }
}

/// Visits the member rows of a spread sorted set within a range of positions, in order.
pub(super) fn walk_members(
    txn: &mut Txn<'_>,
    place: Place,
    positions: Range<u64>,
    mut visit: impl FnMut(Position, &[u8], f64) -> ControlFlow<()>,
) -> Outcome {
    if positions.is_empty() {
        return Ok(());
    }
    let lower = place.element_at(Position(positions.start));
    let upper =
        if positions.end < POSITION_END { place.element_at(Position(positions.end)) } else { place.end() };
    txn.scan(Family::Member, &lower, &upper, Direction::Up, |row, value| {
        let Some((position, member)) = split_field_row(row) else {
            return Err(Stop::Unavailable("damaged row: member without its position".to_owned()));
        };
        Ok(visit(position, member, decode_score(value)?))
    })
}

/// Visits about `rows` members from a cursor on; a packed sorted set whole. Gives the next cursor, 0 at the end. Members of one
/// position are never parted, so no member that stays is missed.
pub fn page(
    txn: &mut Txn<'_>,
    stored: &Stored,
    cursor: u64,
    rows: u64,
    mut visit: impl FnMut(&[u8], f64),
) -> Outcome<u64> {
    let Body::Spread(spread) = stored.body() else {
        for_each(txn, stored, visit)?;
        return Ok(0);
    };
    txn.expect_work(rows.min(spread.count))?;
    let (mut left, mut last, mut next) = (rows, None, 0);
    walk_members(txn, spread.place, cursor.min(POSITION_END)..POSITION_END, |position, member, score| {
        if left == 0 && last != Some(position) {
            next = position.0;
            return ControlFlow::Break(());
        }
        left = left.saturating_sub(1);
        last = Some(position);
        visit(member, score);
        ControlFlow::Continue(())
    })?;
    Ok(next)
}
