//! Consumer groups: what a group and its consumers have been given and have not acknowledged.
//!
//! Groups, consumers and pending entries are rows (`encoding::stream_group`), so a long list of pending entries costs a change no more
//! than a short one. A command works on an `OpenGroup`: the group's row and those of the consumers it comes upon, held in memory and
//! written at its end. That nothing else is pending below `low` and above `high` spares reads: what is newly delivered lies
//! above `high` nearly always, and what was acknowledged long ago below `low`, which is moved up now and then.
//!
//! Locks: the stream's key is locked by the command.

use super::{Id, References, Stream};
use crate::encoding::Family;
use crate::encoding::stream_group::{
    ConsumerRow, GroupRow, PendingRow, consumer_name, consumer_row, consumer_rows, group_name, group_row,
    group_rows, id_in, owned_end, owned_end_of_group, owned_row, pending_end, pending_row,
};
use crate::keyspace::{Direction, Key, Outcome, Stop, Txn};
use std::ops::ControlFlow;

/// After so many entries have gone from the pending ones, the lowest is looked for.
const GONE_MAX: u32 = 64;

/// A group's row.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name.
    pub name: Vec<u8>,
    /// What is known of it.
    pub row: GroupRow,
}

/// A consumer's row.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// Its name.
    pub name: Vec<u8>,
    /// What is known of it.
    pub row: ConsumerRow,
}

/// A pending entry.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Its id.
    pub id: Id,
    /// When it was last delivered, unix milliseconds.
    pub delivered_at_ms: u64,
    /// How often.
    pub deliveries: u64,
    /// To whom.
    pub consumer: Vec<u8>,
}

impl Pending {
    fn decode(id: Id, value: &[u8]) -> Outcome<Pending> {
        let PendingRow { delivered_at_ms, deliveries, consumer } = PendingRow::decode(value)?;
        Ok(Pending { id, delivered_at_ms, deliveries, consumer: consumer.to_vec() })
    }
}

/// A group that a command works on.
#[derive(Debug)]
pub struct OpenGroup {
    group: Group,
    /// Consumers that were read or made, and whether they were changed.
    consumers: Vec<(Consumer, bool)>,
    is_changed: bool,
}

/// All groups of a stream, in the order of their names.
pub fn all(txn: &mut Txn<'_>, stream: &Stream) -> Outcome<Vec<Group>> {
    let mut groups = Vec::new();
    if stream.extra.groups == 0 {
        return Ok(groups);
    }
    txn.expect_work(stream.extra.groups.into())?;
    let (lower, upper) = group_rows(&stream.place);
    txn.scan(Family::Group, &lower, &upper, Direction::Up, |row, value| {
        groups.push(Group { name: group_name(row).to_vec(), row: GroupRow::decode(value)? });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(groups)
}

/// How many rows the groups of a stream have: each its own, one for each consumer, two for each entry that is pending.
pub fn row_count(txn: &mut Txn<'_>, stream: &Stream) -> Outcome<u64> {
    let rows = |group: Group| {
        (1 + u64::from(group.row.consumers)).saturating_add(group.row.pending.saturating_mul(2))
    };
    Ok(all(txn, stream)?.into_iter().map(rows).fold(0, u64::saturating_add))
}

/// All consumers of a group, in the order of their names.
pub fn consumers(txn: &mut Txn<'_>, stream: &Stream, group: &Group) -> Outcome<Vec<Consumer>> {
    let mut consumers = Vec::new();
    txn.expect_work(group.row.consumers.into())?;
    let (lower, upper) = consumer_rows(&stream.place, group.row.number);
    txn.scan(Family::Group, &lower, &upper, Direction::Up, |row, value| {
        consumers.push(Consumer { name: consumer_name(row).to_vec(), row: ConsumerRow::decode(value)? });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(consumers)
}

/// Makes a group; false if there is one of that name. The caller saves the stream's head.
pub fn create(
    txn: &mut Txn<'_>,
    key: &Key,
    stream: &mut Stream,
    name: &[u8],
    last_id: Id,
    entries_read: Option<u64>,
) -> Outcome<bool> {
    let row = group_row(&stream.place, name);
    if txn.element(Family::Group, &row)?.is_some() {
        return Ok(false);
    }
    stream.extra.groups += 1;
    stream.extra.groups_made += 1;
    let group = GroupRow {
        number: stream.extra.groups_made,
        last_id,
        entries_read: entries_read.map(|read| read.min(stream.extra.entries_added)),
        pending: 0,
        consumers: 0,
        consumers_made: 0,
        low: Id::MAX,
        high: Id::MIN,
        gone: 0,
    };
    txn.insert_element(key, Family::Group, &row, &group.encode())?;
    Ok(true)
}

/// Removes a group and its rows; false if there is none. The caller saves the stream's head.
pub fn destroy(txn: &mut Txn<'_>, key: &Key, stream: &mut Stream, name: &[u8]) -> Outcome<bool> {
    let Some(open) = OpenGroup::load(txn, stream, name)? else { return Ok(false) };
    let GroupRow { number, pending, consumers, low, .. } = open.group.row;
    let rows = pending.saturating_mul(2) + u64::from(consumers);
    // Of very many rows none is removed: nothing leads to them any more, and they die with the stream.
    if rows <= txn.keyspace().tuning().cut_rows_max(rows) {
        txn.expect_work(rows)?;
        let place = stream.place;
        let (consumers_from, consumers_to) = consumer_rows(&place, number);
        let pending_from = pending_row(&place, number, low);
        let owned_from = owned_row(&place, number, 0, Id::MIN);
        let mut gone = Vec::new();
        for (lower, upper) in [
            (consumers_from, consumers_to),
            (pending_from, pending_end(&place, number)),
            (owned_from, owned_end_of_group(&place, number)),
        ] {
            txn.scan(Family::Group, &lower, &upper, Direction::Up, |row, _| {
                gone.push(row.to_vec());
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for row in gone {
            txn.delete_element(key, Family::Group, &row)?;
        }
    }
    txn.delete_element(key, Family::Group, &group_row(&stream.place, name))?;
    stream.extra.groups = stream.extra.groups.saturating_sub(1);
    Ok(true)
}

impl OpenGroup {
    /// Loads a group, if it exists.
    pub fn load(txn: &mut Txn<'_>, stream: &Stream, name: &[u8]) -> Outcome<Option<OpenGroup>> {
        let Some(value) = txn.element(Family::Group, &group_row(&stream.place, name))? else {
            return Ok(None);
        };
        let group = Group { name: name.to_vec(), row: GroupRow::decode(&value)? };
        Ok(Some(OpenGroup::of(group)))
    }

    /// A group that was read before.
    pub fn of(group: Group) -> OpenGroup {
        OpenGroup { group, consumers: Vec::new(), is_changed: false }
    }

    /// What is known of the group.
    pub fn row(&self) -> &GroupRow {
        &self.group.row
    }

    /// The group with its name.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Sets what was last delivered, and what is known of how many that are.
    pub fn set_last_id(&mut self, id: Id, entries_read: Option<u64>) {
        self.group.row.last_id = id;
        self.group.row.entries_read = entries_read;
        self.is_changed = true;
    }

    /// Writes what was changed.
    pub fn save(&self, txn: &mut Txn<'_>, key: &Key, stream: &Stream) -> Outcome {
        for (consumer, is_changed) in &self.consumers {
            if *is_changed {
                let row = consumer_row(&stream.place, self.group.row.number, &consumer.name);
                txn.put_element(key, Family::Group, &row, &consumer.row.encode())?;
            }
        }
        if self.is_changed {
            let row = group_row(&stream.place, &self.group.name);
            txn.put_element(key, Family::Group, &row, &self.group.row.encode())?;
        }
        Ok(())
    }

    /// Where in `consumers` a consumer is, read if need be.
    fn find(&mut self, txn: &mut Txn<'_>, stream: &Stream, name: &[u8]) -> Outcome<Option<usize>> {
        if let Some(at) = self.consumers.iter().position(|(consumer, _)| consumer.name == name) {
            return Ok(Some(at));
        }
        let row = consumer_row(&stream.place, self.group.row.number, name);
        let Some(value) = txn.element(Family::Group, &row)? else { return Ok(None) };
        let consumer = Consumer { name: name.to_vec(), row: ConsumerRow::decode(&value)? };
        self.consumers.push((consumer, false));
        Ok(Some(self.consumers.len() - 1))
    }

    /// A consumer, if it exists.
    pub fn consumer(
        &mut self,
        txn: &mut Txn<'_>,
        stream: &Stream,
        name: &[u8],
    ) -> Outcome<Option<&Consumer>> {
        Ok(self.find(txn, stream, name)?.map(|at| &self.consumers[at].0))
    }

    /// Makes a consumer; false if it exists.
    pub fn create_consumer(&mut self, txn: &mut Txn<'_>, stream: &Stream, name: &[u8]) -> Outcome<bool> {
        if self.find(txn, stream, name)?.is_some() {
            return Ok(false);
        }
        self.group.row.consumers += 1;
        self.group.row.consumers_made += 1;
        self.is_changed = true;
        let row = ConsumerRow {
            number: self.group.row.consumers_made,
            pending: 0,
            seen_at_ms: txn.now_ms(),
            active_at_ms: None,
        };
        self.consumers.push((Consumer { name: name.to_vec(), row }, true));
        Ok(true)
    }

    /// A consumer has asked for something, and perhaps got it. It must exist.
    pub fn touch(&mut self, txn: &Txn<'_>, name: &[u8], is_served: bool) {
        if let Some((consumer, is_changed)) =
            self.consumers.iter_mut().find(|(consumer, _)| consumer.name == name)
        {
            consumer.row.seen_at_ms = txn.now_ms();
            if is_served {
                consumer.row.active_at_ms = Some(txn.now_ms());
            }
            *is_changed = true;
        }
    }

    /// Removes a consumer and all that is pending for it; how many those were.
    pub fn delete_consumer(
        &mut self,
        txn: &mut Txn<'_>,
        key: &Key,
        stream: &Stream,
        name: &[u8],
    ) -> Outcome<Option<u64>> {
        let Some(at) = self.find(txn, stream, name)? else { return Ok(None) };
        let consumer = self.consumers[at].0.row;
        txn.expect_work(consumer.pending)?;
        for id in self.owned(txn, stream, name, Id::MIN, u64::MAX)? {
            self.remove_rows(txn, key, stream, consumer.number, id)?;
        }
        self.went(consumer.pending);
        self.consumers.remove(at);
        let row = consumer_row(&stream.place, self.group.row.number, name);
        txn.delete_element(key, Family::Group, &row)?;
        self.group.row.consumers = self.group.row.consumers.saturating_sub(1);
        self.is_changed = true;
        Ok(Some(consumer.pending))
    }

    fn remove_rows(&self, txn: &mut Txn<'_>, key: &Key, stream: &Stream, consumer: u32, id: Id) -> Outcome {
        let number = self.group.row.number;
        txn.delete_element(key, Family::Group, &pending_row(&stream.place, number, id))?;
        txn.delete_element(key, Family::Group, &owned_row(&stream.place, number, consumer, id))
    }

    /// So many entries are pending no more.
    fn went(&mut self, count: u64) {
        let row = &mut self.group.row;
        row.pending = row.pending.saturating_sub(count);
        row.gone = row.gone.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if row.pending == 0 {
            // The next to be delivered will be the lowest.
            (row.low, row.high, row.gone) = (Id::MAX, Id::MIN, 0);
        }
        self.is_changed = true;
    }

    /// Looks for the lowest pending entry if many have gone.
    pub fn move_low(&mut self, txn: &mut Txn<'_>, stream: &Stream) -> Outcome {
        if self.group.row.gone < GONE_MAX || self.group.row.pending == 0 {
            return Ok(());
        }
        let mut lowest = None;
        self.visit_pending(txn, stream, (Id::MIN, Id::MAX), |pending| {
            lowest = Some(pending.id);
            Ok(ControlFlow::Break(()))
        })?;
        self.group.row.low = lowest.unwrap_or(self.group.row.high);
        self.group.row.gone = 0;
        self.is_changed = true;
        Ok(())
    }

    /// A pending entry, if it is one.
    pub fn pending(&self, txn: &mut Txn<'_>, stream: &Stream, id: Id) -> Outcome<Option<Pending>> {
        if id < self.group.row.low || id > self.group.row.high {
            return Ok(None);
        }
        let row = pending_row(&stream.place, self.group.row.number, id);
        match txn.element(Family::Group, &row)? {
            Some(value) => Ok(Some(Pending::decode(id, &value)?)),
            None => Ok(None),
        }
    }

    /// Makes an entry pending for its consumer, who exists. `from` is what was pending before.
    pub fn give(
        &mut self,
        txn: &mut Txn<'_>,
        key: &Key,
        stream: &Stream,
        pending: &Pending,
        from: Option<&Pending>,
    ) -> Outcome {
        let number = self.group.row.number;
        let value = PendingRow {
            delivered_at_ms: pending.delivered_at_ms,
            deliveries: pending.deliveries,
            consumer: &pending.consumer,
        }
        .encode();
        txn.put_element(key, Family::Group, &pending_row(&stream.place, number, pending.id), &value)?;
        if from.is_some_and(|from| from.consumer == pending.consumer) {
            return Ok(());
        }
        if let Some(from) = from
            && let Some(at) = self.find(txn, stream, &from.consumer)?
        {
            let (consumer, is_changed) = &mut self.consumers[at];
            consumer.row.pending = consumer.row.pending.saturating_sub(1);
            *is_changed = true;
            let owned = owned_row(&stream.place, number, consumer.row.number, pending.id);
            txn.delete_element(key, Family::Group, &owned)?;
        }
        if let Some(at) = self.find(txn, stream, &pending.consumer)? {
            let (consumer, is_changed) = &mut self.consumers[at];
            consumer.row.pending += 1;
            *is_changed = true;
            let owned = owned_row(&stream.place, number, consumer.row.number, pending.id);
            txn.insert_element(key, Family::Group, &owned, b"")?;
        }
        if from.is_none() {
            let row = &mut self.group.row;
            row.pending += 1;
            row.low = row.low.min(pending.id);
            row.high = row.high.max(pending.id);
            self.is_changed = true;
        }
        Ok(())
    }

    /// An entry is pending no more.
    pub fn release(&mut self, txn: &mut Txn<'_>, key: &Key, stream: &Stream, pending: &Pending) -> Outcome {
        if let Some(at) = self.find(txn, stream, &pending.consumer)? {
            let (consumer, is_changed) = &mut self.consumers[at];
            consumer.row.pending = consumer.row.pending.saturating_sub(1);
            *is_changed = true;
            let number = consumer.row.number;
            self.remove_rows(txn, key, stream, number, pending.id)?;
        }
        self.went(1);
        Ok(())
    }

    /// Shows the pending entries between two ids, both included, until `visit` breaks.
    pub fn visit_pending(
        &self,
        txn: &mut Txn<'_>,
        stream: &Stream,
        (from, to): (Id, Id),
        mut visit: impl FnMut(Pending) -> Outcome<ControlFlow<()>>,
    ) -> Outcome {
        let (from, to) = (from.max(self.group.row.low), to.min(self.group.row.high));
        if from > to {
            return Ok(());
        }
        let number = self.group.row.number;
        let lower = pending_row(&stream.place, number, from);
        let upper = to.next().map_or_else(
            || pending_end(&stream.place, number),
            |behind| pending_row(&stream.place, number, behind),
        );
        let steps_max = txn.steps_max();
        let mut steps = 0;
        txn.scan(Family::Group, &lower, &upper, Direction::Up, |row, value| {
            if steps == steps_max {
                return Err(Stop::Heavy);
            }
            steps += 1;
            visit(Pending::decode(id_in(row)?, value)?)
        })
    }

    /// The last pending entry.
    pub fn last_pending(&self, txn: &mut Txn<'_>, stream: &Stream) -> Outcome<Option<Id>> {
        let (number, row) = (self.group.row.number, &self.group.row);
        if row.pending == 0 {
            return Ok(None);
        }
        let lower = pending_row(&stream.place, number, row.low);
        let upper = row.high.next().map_or_else(
            || pending_end(&stream.place, number),
            |behind| pending_row(&stream.place, number, behind),
        );
        let mut last = None;
        txn.scan(Family::Group, &lower, &upper, Direction::Down, |row, _| {
            last = Some(id_in(row)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(last)
    }

    /// The ids pending for a consumer, from one on, at most so many.
    pub fn owned(
        &mut self,
        txn: &mut Txn<'_>,
        stream: &Stream,
        name: &[u8],
        from: Id,
        count_max: u64,
    ) -> Outcome<Vec<Id>> {
        let mut ids = Vec::new();
        let Some(at) = self.find(txn, stream, name)? else { return Ok(ids) };
        let consumer = self.consumers[at].0.row;
        let from = from.max(self.group.row.low);
        if consumer.pending == 0 || from > self.group.row.high || count_max == 0 {
            return Ok(ids);
        }
        txn.expect_work(count_max.min(consumer.pending))?;
        let number = self.group.row.number;
        let lower = owned_row(&stream.place, number, consumer.number, from);
        let upper = owned_end(&stream.place, number, consumer.number);
        txn.scan(Family::Group, &lower, &upper, Direction::Up, |row, _| {
            ids.push(id_in(row)?);
            let is_full = ids.len() as u64 == count_max;
            Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(ids)
    }
}

/// What groups say to the removal of entries.
pub(super) struct Referrers {
    references: References,
    groups: Vec<OpenGroup>,
}

impl Referrers {
    /// Reads the groups, if they are to be asked.
    pub(super) fn load(txn: &mut Txn<'_>, stream: &Stream, references: References) -> Outcome<Referrers> {
        let groups = match references {
            References::Keep => Vec::new(),
            _ => all(txn, stream)?.into_iter().map(OpenGroup::of).collect(),
        };
        Ok(Referrers { references, groups })
    }

    /// Whether a group has still to read or to acknowledge an entry, and that matters.
    pub(super) fn object(&self, txn: &mut Txn<'_>, stream: &Stream, id: Id) -> Outcome<bool> {
        if self.references != References::Acked {
            return Ok(false);
        }
        for group in &self.groups {
            if group.row().last_id < id || group.pending(txn, stream, id)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// An entry goes: it is pending nowhere, if that is wanted.
    pub(super) fn forget(&mut self, txn: &mut Txn<'_>, key: &Key, stream: &Stream, id: Id) -> Outcome {
        if self.references != References::Delete {
            return Ok(());
        }
        for group in &mut self.groups {
            if let Some(pending) = group.pending(txn, stream, id)? {
                group.release(txn, key, stream, &pending)?;
            }
        }
        Ok(())
    }

    /// Writes the groups.
    pub(super) fn save(mut self, txn: &mut Txn<'_>, key: &Key, stream: &Stream) -> Outcome {
        for group in &mut self.groups {
            group.move_low(txn, stream)?;
            group.save(txn, key, stream)?;
        }
        Ok(())
    }
}
