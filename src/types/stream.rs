//! Streams: entries in the order of their ids, added at the end, removed anywhere.
//!
//! A stream is always spread: an entry is written once and not touched again, so packing would only write it over and over. Each
//! entry has a row under its id (`encoding::stream`), the head has the length, the ids that must not be forgotten, and where the first
//! entry is, so that nothing looks where trimmed entries were. A stream may be empty; only DEL removes it.
//!
//! Read in this order: this file (reading, adding, removing), `nodes` (which entries Redis would keep together), `trim`, `groups`
//! (consumer groups), `deliver` (what they are given), `lag`.
//!
//! Locks: the caller's key is locked by its command.

pub mod deliver;
pub mod groups;
mod lag;
mod nodes;
mod trim;

pub use crate::encoding::stream::{Entry, Id};
pub use trim::{Threshold, Trim, trim};

use super::copy::copy_rows;
use crate::encoding::head::{Body, DataType, Spread};
use crate::encoding::row::Place;
use crate::encoding::stream::{Extra, entry_id, entry_row};
use crate::encoding::{Damaged, Family};
use crate::keyspace::{Direction, Key, NewHead, Outcome, RowValue, Stop, Txn};
use groups::Referrers;
use std::ops::ControlFlow;

/// What becomes of the references that groups hold to entries which are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum References {
    /// They stay (KEEPREF).
    #[default]
    Keep,
    /// They go, too (DELREF).
    Delete,
    /// Only what every group has read and acknowledged is removed (ACKED).
    Acked,
}

/// What became of an entry that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// There was none.
    Absent,
    /// It was removed.
    Removed,
    /// It stays: a group has not read or not acknowledged it.
    Referenced,
}

/// A stream's head. Changes are real once it is saved.
#[derive(Debug, Clone)]
pub struct Stream {
    place: Place,
    len: u64,
    extra: Extra,
    expires_at_ms: Option<u64>,
}

/// Loads a key that must be a stream, if it exists.
pub fn load(txn: &mut Txn<'_>, key: &Key) -> Outcome<Option<Stream>> {
    let Some(stored) = txn.load_typed(key, DataType::Stream)? else { return Ok(None) };
    let Body::Spread(spread) = stored.body() else {
        return Err(Damaged("packed stream").into());
    };
    let extra = Extra::decode(spread.extra)?;
    let expires_at_ms = stored.expires_at_ms();
    Ok(Some(Stream { place: spread.place, len: spread.count, extra, expires_at_ms }))
}

impl Stream {
    /// An empty stream for a key.
    pub fn new(txn: &mut Txn<'_>, key: &Key) -> Stream {
        Stream { place: txn.new_place(key), len: 0, extra: Extra::default(), expires_at_ms: None }
    }

    /// How many entries it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True when it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The id last given.
    pub fn last_id(&self) -> Id {
        self.extra.last_id
    }

    /// What the head keeps besides.
    pub fn extra(&self) -> &Extra {
        &self.extra
    }

    /// Writes the head.
    pub fn save(&self, txn: &mut Txn<'_>, key: &Key) -> Outcome {
        let extra = self.extra.encode();
        let body = Body::Spread(Spread { place: self.place, count: self.len, extra: &extra });
        txn.save(key, NewHead::new(DataType::Stream, body).expiring(self.expires_at_ms))
    }

    /// The id that comes next when the clock chooses: the clock's time, or, if that is not beyond the last id, the id behind it.
    pub fn next_id(&self, now_ms: u64) -> Option<Id> {
        let last = self.extra.last_id;
        if now_ms > last.ms { Some(Id { ms: now_ms, seq: 0 }) } else { last.next() }
    }

    /// Adds an entry of these fields and values; its id must lie beyond the last. The caller saves the head.
    pub fn add<'w>(
        &mut self,
        txn: &mut Txn<'_>,
        key: &Key,
        id: Id,
        words: impl Iterator<Item = &'w [u8]> + Clone,
    ) -> Outcome {
        nodes::grow(txn, &mut self.extra, id, words.clone());
        let mut value = txn.take_buffer();
        Entry::encode(self.extra.tail.node, words, &mut value);
        txn.insert_element(key, Family::Stream, &entry_row(&self.place, id), &value)?;
        txn.return_buffer(value);
        self.len += 1;
        self.extra.entries_added += 1;
        self.extra.last_id = id;
        if self.len == 1 {
            self.extra.first_id = id;
        }
        Ok(())
    }

    /// The row of an entry, if there is one of this id. What was trimmed may still be found in memory, so it is not looked for.
    fn entry(&self, txn: &mut Txn<'_>, id: Id) -> Outcome<Option<RowValue>> {
        if self.len == 0 || id < self.extra.first_id || id > self.extra.last_id {
            return Ok(None);
        }
        txn.element(Family::Stream, &entry_row(&self.place, id))
    }

    /// Removes an entry that is there. The first id is not seen to.
    fn remove_row(&mut self, txn: &mut Txn<'_>, key: &Key, id: Id, node: u64) -> Outcome {
        txn.delete_element(key, Family::Stream, &entry_row(&self.place, id))?;
        self.count_off(node);
        Ok(())
    }

    /// An entry of a node is gone.
    fn count_off(&mut self, node: u64) {
        self.len = self.len.saturating_sub(1);
        nodes::shrink(&mut self.extra, node);
    }

    /// Looks for the first entry, at or behind where it may be.
    fn find_first(&mut self, txn: &mut Txn<'_>) -> Outcome {
        if self.len == 0 {
            self.extra.first_id = Id::MIN;
            return Ok(());
        }
        if let Some((first, _)) = edge(txn, self, Direction::Up)? {
            self.extra.first_id = first;
        }
        Ok(())
    }

    /// Removes entries; those that are not there do not count. Gives how many were there. The caller saves the head.
    pub fn delete(&mut self, txn: &mut Txn<'_>, key: &Key, ids: &[Id]) -> Outcome<u64> {
        let removals = self.delete_each(txn, key, ids, References::Keep)?;
        Ok(removals.into_iter().filter(|&removal| removal == Removal::Removed).count() as u64)
    }

    /// Removes entries, and tells of each what became of it. The caller saves the head.
    pub fn delete_each(
        &mut self,
        txn: &mut Txn<'_>,
        key: &Key,
        ids: &[Id],
        references: References,
    ) -> Outcome<Vec<Removal>> {
        txn.expect_work(ids.len() as u64)?;
        let mut referrers = Referrers::load(txn, self, references)?;
        let mut removals = Vec::with_capacity(ids.len());
        let first_id = self.extra.first_id;
        let mut first_went = false;
        for &id in ids {
            if referrers.object(txn, self, id)? {
                removals.push(Removal::Referenced);
                continue;
            }
            referrers.forget(txn, key, self, id)?;
            let Some(value) = self.entry(txn, id)? else {
                removals.push(Removal::Absent);
                continue;
            };
            let node = Entry::decode(&value)?.node;
            self.remove_row(txn, key, id, node)?;
            first_went |= id == first_id;
            self.extra.deleted_id_max = self.extra.deleted_id_max.max(id);
            removals.push(Removal::Removed);
        }
        referrers.save(txn, key, self)?;
        if first_went || self.len == 0 {
            self.find_first(txn)?;
        }
        Ok(removals)
    }

    /// XSETID: what is given replaces what the head says. The caller has checked it, and saves the head.
    ///
    /// Ids that have been used can come again in an emptied stream, so that one begins anew: rows of its trimmed entries may still be
    /// found under its place. While there are entries, what was trimmed is older than they are.
    pub fn set_ids(
        &mut self,
        txn: &mut Txn<'_>,
        key: &Key,
        last_id: Id,
        entries_added: Option<u64>,
        deleted_id_max: Option<Id>,
    ) -> Outcome {
        if self.len == 0 && last_id < self.extra.last_id {
            let rows = groups::row_count(txn, self)?;
            self.place = copy_rows(txn, key, DataType::Stream, &[Family::Group], self.place, rows)?;
            self.extra.first_id = Id::MIN;
        }
        self.extra.last_id = last_id;
        self.extra.entries_added = entries_added.unwrap_or(self.extra.entries_added);
        self.extra.deleted_id_max = deleted_id_max.unwrap_or(self.extra.deleted_id_max);
        Ok(())
    }
}

/// Shows the entries from one id to another, both included, until `visit` breaks.
pub fn visit(
    txn: &mut Txn<'_>,
    stream: &Stream,
    (from, to): (Id, Id),
    direction: Direction,
    mut visit: impl FnMut(Id, Entry<'_>) -> Outcome<ControlFlow<()>>,
) -> Outcome {
    let (from, to) = (from.max(stream.extra.first_id), to.min(stream.extra.last_id));
    if stream.len == 0 || from > to {
        return Ok(());
    }
    let lower = entry_row(&stream.place, from);
    if from == to {
        if let Some(value) = stream.entry(txn, from)? {
            let _ = visit(from, Entry::decode(&value)?)?;
        }
        return Ok(());
    }
    let upper = match to.next() {
        Some(behind) => entry_row(&stream.place, behind),
        None => stream.place.end(),
    };
    let steps_max = txn.steps_max();
    let mut steps = 0;
    txn.scan(Family::Stream, &lower, &upper, direction, |row, value| {
        if steps == steps_max {
            return Err(Stop::Heavy);
        }
        steps += 1;
        visit(entry_id(row)?, Entry::decode(value)?)
    })
}

/// The first or the last entry: its id and its value's packed words.
pub fn edge(txn: &mut Txn<'_>, stream: &Stream, from: Direction) -> Outcome<Option<(Id, Vec<u8>)>> {
    let mut found = None;
    visit(txn, stream, (Id::MIN, Id::MAX), from, |id, entry| {
        found = Some((id, entry.packed.to_vec()));
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// How many nodes Redis would have for the entries that are there: exact as long as XDEL has emptied none in their midst.
pub fn node_count(txn: &mut Txn<'_>, stream: &Stream) -> Outcome<u64> {
    let mut first_node = None;
    visit(txn, stream, (Id::MIN, Id::MAX), Direction::Up, |_, entry| {
        first_node = Some(entry.node);
        Ok(ControlFlow::Break(()))
    })?;
    let tail = stream.extra.tail;
    let emptied = u64::from(tail.live == 0);
    Ok(first_node.map_or(0, |first| (tail.node + 1).saturating_sub(first + emptied).max(1)))
}
