//! Delivering: entries are given to a consumer of a group, from the stream, from what is pending for it already, or from what is pending
//! for others.

use super::groups::{OpenGroup, Pending};
use super::{Entry, Id, Stream, visit};
use crate::keyspace::{Direction, Key, Outcome, Txn};
use std::ops::ControlFlow;

/// XAUTOCLAIM looks at so many pending entries for each that it may claim.
const LOOKS_PER_CLAIM: u64 = 10;

/// Gives a consumer, who exists, the entries behind the group's last, at most so many. With `noack` they do not become pending.
/// Each is shown to `visit`. How many there were.
pub fn deliver_new(
    txn: &mut Txn<'_>,
    key: &Key,
    stream: &Stream,
    open: &mut OpenGroup,
    (consumer, noack): (&[u8], bool),
    count_max: u64,
    mut show: impl FnMut(Id, Entry<'_>) -> Outcome,
) -> Outcome<u64> {
    let Some(from) = open.row().last_id.next() else { return Ok(0) };
    let mut ids = Vec::new();
    visit(txn, stream, (from, Id::MAX), Direction::Up, |id, entry| {
        show(id, entry)?;
        ids.push(id);
        let is_full = ids.len() as u64 == count_max;
        Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    txn.expect_work(ids.len() as u64)?;
    for &id in &ids {
        let entries_read = stream.entries_read_with(open.row(), id);
        open.set_last_id(id, entries_read);
        if noack {
            continue;
        }
        // XGROUP SETID may have gone back to what is pending already.
        let before = open.pending(txn, stream, id)?;
        let (delivered_at_ms, consumer) = (txn.now_ms(), consumer.to_vec());
        let pending = Pending { id, delivered_at_ms, deliveries: 1, consumer };
        open.give(txn, key, stream, &pending, before.as_ref())?;
    }
    Ok(ids.len() as u64)
}

/// Gives a consumer once more what is pending for it from an id on, at most so many. Each is shown; those whose entry was removed
/// without it.
pub fn deliver_again(
    txn: &mut Txn<'_>,
    key: &Key,
    stream: &Stream,
    open: &mut OpenGroup,
    consumer: &[u8],
    (from, count_max): (Id, u64),
    mut show: impl FnMut(Id, Option<Entry<'_>>) -> Outcome,
) -> Outcome<u64> {
    let ids = open.owned(txn, stream, consumer, from, count_max)?;
    for &id in &ids {
        let Some(value) = stream.entry(txn, id)? else {
            show(id, None)?;
            continue;
        };
        show(id, Some(Entry::decode(&value)?))?;
        if let Some(before) = open.pending(txn, stream, id)? {
            let now = Pending {
                delivered_at_ms: txn.now_ms(),
                deliveries: before.deliveries + 1,
                ..before.clone()
            };
            open.give(txn, key, stream, &now, Some(&before))?;
        }
    }
    Ok(ids.len() as u64)
}

/// How entries are claimed.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// For whom; the consumer exists.
    pub consumer: &'a [u8],
    /// Only what was delivered so long ago.
    pub idle_ms_min: u64,
    /// When they count as delivered, unix milliseconds.
    pub delivered_at_ms: u64,
    /// How often they count as delivered; none: once more than before.
    pub deliveries: Option<u64>,
    /// Entries that are not pending become so.
    pub force: bool,
    /// Ids are all that is wanted: no delivery.
    pub just_ids: bool,
}

/// What became of an entry that was to be claimed.
pub enum Claimed {
    /// It is the consumer's now; its value.
    Given(crate::keyspace::RowValue),
    /// It was pending, but is no more in the stream: now it is not pending either.
    Removed,
    /// It is as it was.
    Left,
}

/// Claims one entry for a consumer. `pending` is what is pending of it.
fn claim_one(
    txn: &mut Txn<'_>,
    key: &Key,
    stream: &Stream,
    open: &mut OpenGroup,
    claim: &Claim<'_>,
    (id, pending): (Id, Option<Pending>),
) -> Outcome<Claimed> {
    let Some(value) = stream.entry(txn, id)? else {
        return match pending {
            Some(pending) => {
                open.release(txn, key, stream, &pending)?;
                Ok(Claimed::Removed)
            }
            None => Ok(Claimed::Left),
        };
    };
    let before = match &pending {
        Some(pending) => {
            let idle_ms = txn.now_ms() as i64 - pending.delivered_at_ms as i64;
            if claim.idle_ms_min > 0 && idle_ms < claim.idle_ms_min as i64 {
                return Ok(Claimed::Left);
            }
            pending.deliveries
        }
        None if claim.force => 1,
        None => return Ok(Claimed::Left),
    };
    let deliveries = claim.deliveries.unwrap_or(before + u64::from(!claim.just_ids));
    let now =
        Pending { id, delivered_at_ms: claim.delivered_at_ms, deliveries, consumer: claim.consumer.to_vec() };
    open.give(txn, key, stream, &now, pending.as_ref())?;
    open.touch(txn, claim.consumer, true);
    Ok(Claimed::Given(value))
}

/// XCLAIM: claims these entries, showing each that was claimed.
pub fn claim(
    txn: &mut Txn<'_>,
    key: &Key,
    stream: &Stream,
    open: &mut OpenGroup,
    wanted: &Claim<'_>,
    ids: &[Id],
    mut show: impl FnMut(Id, Entry<'_>) -> Outcome,
) -> Outcome<u64> {
    txn.expect_work(ids.len() as u64)?;
    let mut claimed = 0;
    for &id in ids {
        let pending = open.pending(txn, stream, id)?;
        if let Claimed::Given(value) = claim_one(txn, key, stream, open, wanted, (id, pending))? {
            show(id, Entry::decode(&value)?)?;
            claimed += 1;
        }
    }
    Ok(claimed)
}

/// What XAUTOCLAIM has done.
#[derive(Debug, Default)]
pub struct AutoClaimed {
    /// Where to go on; none when all pending entries were looked at.
    pub next: Option<Id>,
    /// How many were claimed.
    pub claimed: u64,
    /// Those that are no more in the stream, and so pending no more.
    pub removed: Vec<Id>,
}

/// XAUTOCLAIM: claims pending entries from an id on, at most so many, showing each.
pub fn auto_claim(
    txn: &mut Txn<'_>,
    key: &Key,
    stream: &Stream,
    open: &mut OpenGroup,
    wanted: &Claim<'_>,
    (from, count_max): (Id, u64),
    mut show: impl FnMut(Id, Entry<'_>) -> Outcome,
) -> Outcome<AutoClaimed> {
    let mut done = AutoClaimed::default();
    let looks_max = count_max.saturating_mul(LOOKS_PER_CLAIM);
    txn.expect_work(count_max.min(open.row().pending))?;
    // One more than may be looked at, to know where to go on.
    let mut met = Vec::new();
    let now_ms = txn.now_ms() as i64;
    let mut left = count_max;
    open.visit_pending(txn, stream, (from, Id::MAX), |pending| {
        if left == 0 || met.len() as u64 == looks_max {
            done.next = Some(pending.id);
            return Ok(ControlFlow::Break(()));
        }
        // Whether it is still in the stream is not known here; what is too young may be a removed one.
        let is_old =
            wanted.idle_ms_min == 0 || now_ms - pending.delivered_at_ms as i64 >= wanted.idle_ms_min as i64;
        left -= u64::from(is_old);
        met.push(pending);
        Ok(ControlFlow::Continue(()))
    })?;
    let mut left = count_max;
    for pending in met {
        let id = pending.id;
        if left == 0 {
            done.next = Some(id);
            break;
        }
        match claim_one(txn, key, stream, open, wanted, (id, Some(pending)))? {
            Claimed::Given(value) => {
                show(id, Entry::decode(&value)?)?;
                done.claimed += 1;
                left -= 1;
            }
            Claimed::Removed => {
                done.removed.push(id);
                left -= 1;
            }
            Claimed::Left => {}
        }
    }
    Ok(done)
}
