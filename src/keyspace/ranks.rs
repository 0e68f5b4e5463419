//! Ranks: where a row stands among the rows of its collection, and which row stands at a rank.
//!
//! Counted by walking from the nearer end, so the work grows with the distance.

use super::error::Outcome;
use super::txn::Txn;
use crate::encoding::Family;
use crate::encoding::row::{Place, RowKey};
use crate::store::Direction;
use std::ops::ControlFlow;

impl Txn<'_> {
    /// How many rows of the collection at `place` lie before `row` (which need not be there) in `family`, of `count` in all.
    pub fn rank(&mut self, family: Family, place: Place, count: u64, row: &[u8]) -> Outcome<u64> {
        self.expect_work(count)?;
        let mut before = 0;
        self.scan(family, &place.prefix(), row, Direction::Up, |_, _| {
            before += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(before)
    }

    /// The row with `rank` rows before it, if there are so many; `count` is how many there are in all.
    pub fn row_at(&mut self, family: Family, place: Place, count: u64, rank: u64) -> Outcome<Option<RowKey>> {
        if rank >= count {
            return Ok(None);
        }
        let (mut left, direction) = match count - 1 - rank {
            from_end if from_end < rank => (from_end, Direction::Down),
            _ => (rank, Direction::Up),
        };
        self.expect_work(left)?;
        let mut found = None;
        self.scan(family, &place.prefix(), &place.end(), direction, |row, _| {
            if left == 0 {
                found = Some(RowKey::from_slice(row));
                return Ok(ControlFlow::Break(()));
            }
            left -= 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }
}
