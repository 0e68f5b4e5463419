//! Going through all members: at once in the order of their scores, page by page (ZSCAN) in the order of their hashes; and picking
//! some by chance (ZRANDMEMBER).

use super::read_packed;
use super::rows::Rows;
use crate::encoding::Family;
use crate::encoding::head::Body;
use crate::encoding::score::{decode_score, read_score_row};
use crate::keyspace::{Direction, Outcome, Stored, Stretch, Txn};
use crate::types::pick::{Picks, pick_from, pick_rows};
use crate::types::positions;
use std::ops::ControlFlow;

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
            let stretch = Stretch { lower: &lower, upper: &upper, is_first: true, is_last: true };
            txn.scan_kept(Family::Score, stretch, Direction::Up, |row, value| {
                let (score, member) = read_score_row(row, value)?;
                visit(member, score);
                Ok(ControlFlow::Continue(()))
            })
        }
    }
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
    let mut damaged = None;
    let next =
        positions::page(txn, Family::Member, spread.place, spread.count, cursor, rows, |name, value| {
            match decode_score(value) {
                Ok(score) => visit(name, score),
                Err(error) => damaged = Some(error),
            }
        })?;
    damaged.map_or(Ok(next), |error| Err(error.into()))
}

/// Picks members by chance, each as likely as any other, and shows them with their scores to `visit`.
pub fn pick(
    txn: &mut Txn<'_>,
    stored: &Stored,
    picks: Picks,
    mut visit: impl FnMut(&[u8], f64) -> Outcome,
) -> Outcome {
    match stored.body() {
        Body::Whole(bytes) => {
            let pairs = read_packed(bytes)?.into_vec();
            pick_from(txn, pairs, picks, |&(score, member)| visit(member, score))
        }
        Body::Spread(spread) => {
            pick_rows(txn, Family::Member, spread, picks, |member, score| visit(member, decode_score(score)?))
        }
    }
}
