//! A large sorted set made at once: gathered until it is too large for that, then written as it comes (`Txn::begin_build`).
//!
//! Members come in any order, once each. Of the ends only the outermost elements are remembered. Who can go through both kinds of rows in
//! their order should write first the ones, then the others (`put_score_row`, `put_member_row`): a memtable takes rows that come in order
//! at a fraction of the time, and their files do not overlap.

use super::edges::{Edge, Side};
use super::rows::Rows;
use super::{NOTE_SKIPLIST, OwnedPair, Unfinished, replace};
use crate::encoding::Family;
use crate::encoding::head::DataType;
use crate::encoding::row::{PLACE_LEN, Place, RowKey};
use crate::encoding::score::{encode_score, score_row, score_row_value};
use crate::keyspace::{Build, Key, Outcome, Txn};

/// What a key is to become.
pub struct Target<'k> {
    key: &'k Key,
    gathered: Vec<OwnedPair>,
    writing: Option<Writing>,
}

/// The rows of a sorted set that is written before its head.
pub struct Writing {
    build: Build,
    count: u64,
    longest: usize,
    /// The outermost elements so far.
    ends: Option<(RowKey, RowKey)>,
}

impl<'k> Target<'k> {
    /// Nothing yet.
    pub fn new(key: &'k Key) -> Target<'k> {
        Target { key, gathered: Vec::new(), writing: None }
    }

    /// Takes one more member.
    pub fn add(&mut self, txn: &mut Txn<'_>, score: f64, member: &[u8]) -> Outcome {
        if let Some(writing) = &mut self.writing {
            return writing.put(txn, self.key, score, member);
        }
        self.gathered.push((score, member.to_vec()));
        if self.gathered.len() > txn.keyspace().tuning().batch_rows_max() {
            let mut writing = Writing::begin(txn, self.key, self.gathered.len() as u64);
            for (score, member) in std::mem::take(&mut self.gathered) {
                writing.put(txn, self.key, score, &member)?;
            }
            self.writing = Some(writing);
        }
        Ok(())
    }

    /// Makes the key what was gathered; no members are no key. Gives how many there are.
    pub fn save(self, txn: &mut Txn<'_>) -> Outcome<u64> {
        let Some(writing) = self.writing else { return replace(txn, self.key, &self.gathered) };
        let (count, tuning) = (writing.count, txn.keyspace().tuning());
        let mut head = Unfinished { note: 0, expires_at_ms: None };
        if count > tuning.zset_entries_max() as u64 || writing.longest > tuning.zset_value_bytes_max() {
            head.note = NOTE_SKIPLIST;
        }
        writing.save(txn, self.key, head)?;
        Ok(count)
    }
}

impl Writing {
    /// About so many members will come.
    pub fn begin(txn: &mut Txn<'_>, key: &Key, members: u64) -> Writing {
        Writing { build: txn.begin_build(key, DataType::Zset, 2 * members), count: 0, longest: 0, ends: None }
    }

    /// Writes a member.
    pub fn put(&mut self, txn: &mut Txn<'_>, key: &Key, score: f64, member: &[u8]) -> Outcome {
        let by_member = self.build.place().field_row(txn.keyspace().seed(), member);
        txn.build_row(&mut self.build, key, Family::Member, &by_member, &encode_score(score))?;
        self.put_score_row(txn, key, score, member)
    }

    /// Writes the row of a member that is found by its name: what follows the place in it.
    pub fn put_member_row(&mut self, txn: &mut Txn<'_>, key: &Key, element: &[u8], score: &[u8]) -> Outcome {
        let mut row = RowKey::from_slice(&self.build.place().prefix());
        row.extend_from_slice(element);
        txn.build_row(&mut self.build, key, Family::Member, &row, score)
    }

    /// Writes the row of a member that is found by its score, and counts the member.
    pub fn put_score_row(&mut self, txn: &mut Txn<'_>, key: &Key, score: f64, member: &[u8]) -> Outcome {
        let place: Place = self.build.place();
        let by_score = score_row(&place, score, member);
        txn.build_row(&mut self.build, key, Family::Score, &by_score, score_row_value(score))?;
        let element = by_score.get(PLACE_LEN..).unwrap_or_default();
        match &mut self.ends {
            None => self.ends = Some((RowKey::from_slice(element), RowKey::from_slice(element))),
            Some((low, _)) if *element < low[..] => *low = RowKey::from_slice(element),
            Some((_, high)) if *element > high[..] => *high = RowKey::from_slice(element),
            Some(_) => {}
        }
        self.count += 1;
        self.longest = self.longest.max(member.len());
        Ok(())
    }

    /// Saves the head. Without members there is no key.
    pub fn save(self, txn: &mut Txn<'_>, key: &Key, head: Unfinished) -> Outcome {
        let (place, count) = (self.build.place(), self.count);
        txn.end_build(self.build)?;
        let Some((low, high)) = self.ends else {
            txn.delete(key)?;
            return Ok(());
        };
        let (low, high) = (Edge::at(Side::Low, &low), Edge::at(Side::High, &high));
        Rows { place, count, low, high }.save(txn, key, head)
    }
}
