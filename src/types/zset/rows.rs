//! The spread form: changes of the two rows of a member, and of what the head says about them.

use super::edges::{Edge, ROWS_READ, Side, read_edges, write_edges};
use super::{OwnedPair, Pair, Unfinished};
use crate::encoding::head::{Body, Spread};
use crate::encoding::row::{PLACE_LEN, Place, RowKey};
use crate::encoding::score::{encode_score, score_row, score_row_value};
use crate::encoding::{Damaged, Family};
use crate::keyspace::{Direction, Key, Outcome, Stretch, Txn};
use std::ops::ControlFlow;

/// A spread sorted set as its head describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    pub place: Place,
    pub count: u64,
    pub low: Edge,
    pub high: Edge,
}

fn element_of(row: &[u8]) -> &[u8] {
    row.get(PLACE_LEN..).unwrap_or_default()
}

impl Rows {
    /// An empty one that is about to get these members, sorted; nothing if there are none.
    pub fn new(place: Place, sorted: &[Pair<'_>]) -> Option<Rows> {
        let (first, last) = (sorted.first()?, sorted.last()?);
        let first = score_row(&place, first.0, first.1);
        let last = score_row(&place, last.0, last.1);
        let low = Edge::at(Side::Low, element_of(&first));
        let high = Edge::at(Side::High, element_of(&last));
        Some(Rows { place, count: 0, low, high })
    }

    pub fn decode(spread: Spread<'_>) -> Result<Rows, Damaged> {
        let (low, high) = read_edges(spread.extra)?;
        Ok(Rows { place: spread.place, count: spread.count, low, high })
    }

    /// The row of an element, or of a bound.
    pub fn row(&self, element: &[u8]) -> RowKey {
        let mut row = RowKey::from_slice(&self.place.prefix());
        row.extend_from_slice(element);
        row
    }

    /// Where the score rows begin and where they end: nothing lies before the one or at or behind the other.
    pub fn limits(&self) -> (RowKey, RowKey) {
        (self.row(&self.low.limit()), self.row(&self.high.limit()))
    }

    /// The row of a member by its name.
    pub fn member_row(&self, txn: &Txn<'_>, member: &[u8]) -> RowKey {
        self.place.field_row(txn.keyspace().seed(), member)
    }

    /// Writes a member that is not there yet; `by_member` is its row.
    pub fn put(
        &mut self,
        txn: &mut Txn<'_>,
        key: &Key,
        score: f64,
        member: &[u8],
        by_member: &RowKey,
    ) -> Outcome {
        txn.insert_element(key, Family::Member, by_member, &encode_score(score))?;
        self.put_score_row(txn, key, score, member)?;
        self.count += 1;
        Ok(())
    }

    fn put_score_row(&mut self, txn: &mut Txn<'_>, key: &Key, score: f64, member: &[u8]) -> Outcome {
        let row = score_row(&self.place, score, member);
        txn.insert_element(key, Family::Score, &row, score_row_value(score))?;
        self.low.add(element_of(&row));
        self.high.add(element_of(&row));
        Ok(())
    }

    /// Gives a member, whose row `by_member` is, another score.
    pub fn change(
        &mut self,
        txn: &mut Txn<'_>,
        key: &Key,
        (old, new): (f64, f64),
        member: &[u8],
        by_member: &RowKey,
    ) -> Outcome {
        txn.replace_element(key, Family::Member, by_member, &encode_score(new))?;
        // The new row first: if it is the outermost one, there is nothing to look for when the old one goes.
        self.put_score_row(txn, key, new, member)?;
        self.delete_score_row(txn, key, old, member)
    }

    /// Removes a member, whose row `by_member` is.
    pub fn delete(
        &mut self,
        txn: &mut Txn<'_>,
        key: &Key,
        score: f64,
        member: &[u8],
        by_member: &RowKey,
    ) -> Outcome {
        txn.delete_element(key, Family::Member, by_member)?;
        self.delete_score_row(txn, key, score, member)?;
        self.count = self.count.saturating_sub(1);
        Ok(())
    }

    /// Removes members. Both kinds of rows in an order, for a memtable takes those fastest.
    pub fn delete_all(&mut self, txn: &mut Txn<'_>, key: &Key, members: &[OwnedPair]) -> Outcome {
        let seed = txn.keyspace().seed();
        let mut by_member: Vec<RowKey> =
            members.iter().map(|(_, member)| self.place.field_row(seed, member)).collect();
        by_member.sort_unstable();
        for row in by_member {
            txn.delete_element(key, Family::Member, &row)?;
        }
        for (score, member) in members {
            self.delete_score_row(txn, key, *score, member)?;
        }
        self.count = self.count.saturating_sub(members.len() as u64);
        Ok(())
    }

    fn delete_score_row(&mut self, txn: &mut Txn<'_>, key: &Key, score: f64, member: &[u8]) -> Outcome {
        let row = score_row(&self.place, score, member);
        txn.delete_element(key, Family::Score, &row)?;
        self.low.remove(element_of(&row));
        self.high.remove(element_of(&row));
        Ok(())
    }

    /// Takes note that all rows from `lower` (included) to `upper` (excluded) have been removed.
    pub fn forget_between(&mut self, lower: &[u8], upper: &[u8]) {
        self.low.remove_between(element_of(lower), element_of(upper));
        self.high.remove_between(element_of(lower), element_of(upper));
    }

    /// Whether a head with this extra says of the ends what is known of them.
    pub fn are_said_by(&self, txn: &mut Txn<'_>, extra: &[u8]) -> bool {
        if self.low.is_stale() || self.high.is_stale() {
            return false;
        }
        let mut written = txn.take_buffer();
        write_edges(&mut written, &self.low, &self.high);
        let are_said = written == extra;
        txn.return_buffer(written);
        are_said
    }

    /// Saves the head after changes. Without members there is no key.
    pub fn save(mut self, txn: &mut Txn<'_>, key: &Key, head: Unfinished) -> Outcome {
        if self.count == 0 {
            txn.delete(key)?;
            return Ok(());
        }
        if self.low.is_stale() {
            let (lower, upper) = (self.row(self.low.bound()), self.limits().1);
            let found = outermost(txn, &lower, &upper, Direction::Up)?;
            self.low.refill(&found);
        }
        if self.high.is_stale() {
            let (lower, upper) = (self.limits().0, self.row(self.high.bound()));
            let found = outermost(txn, &lower, &upper, Direction::Down)?;
            self.high.refill(&found);
        }
        let mut extra = txn.take_buffer();
        write_edges(&mut extra, &self.low, &self.high);
        let spread = Spread { place: self.place, count: self.count, extra: &extra };
        let saved = txn.save(key, head.with(Body::Spread(spread)));
        txn.return_buffer(extra);
        saved
    }
}

/// The elements of the first rows of a span in a direction: as many as an end is refilled with, and one more.
fn outermost(txn: &mut Txn<'_>, lower: &[u8], upper: &[u8], direction: Direction) -> Outcome<Vec<RowKey>> {
    let mut found = Vec::with_capacity(ROWS_READ + 1);
    if lower >= upper {
        return Ok(found);
    }
    txn.scan_kept(Family::Score, Stretch::between(lower, upper), direction, |row, _| {
        found.push(RowKey::from_slice(element_of(row)));
        Ok(if found.len() > ROWS_READ { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(found)
}
