//! XTRIM: the oldest entries go.
//!
//! An exact trim removes what lies beyond the threshold. An approximate one takes whole nodes (see `nodes`) as long as none of their
//! entries has to stay, up to a number of entries. How many entries the oldest node has is kept in the head once it was counted, so an
//! XADD with `MAXLEN ~` most often finds without reading a row that there is nothing to do.

use super::groups::Referrers;
use super::nodes;
use super::{Entry, Id, References, Stream, visit};
use crate::encoding::Family;
use crate::encoding::stream::{Front, entry_row};
use crate::keyspace::{Direction, Key, Outcome, Txn};
use crate::types::pages::{PAGE_ROWS, Pages};
use std::ops::ControlFlow;

/// So many rows go with one deletion of a range; fewer one by one, for every range costs the scans that come by.
const CUT_ROWS_MIN: u64 = 32;

/// What a trim takes away.
#[derive(Default)]
struct Gone {
    /// The oldest node, if it is known well enough to go without a look at its rows.
    unseen: Option<Front>,
    /// What goes behind it: entries with their nodes, in order.
    seen: Vec<(Id, u64)>,
    /// The first entry that stays, if it was seen.
    first_left: Option<Id>,
}

/// Up to where entries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// So many of the newest stay.
    MaxLen(u64),
    /// Those from this id on stay.
    MinId(Id),
}

/// How a stream is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// Up to where.
    pub threshold: Threshold,
    /// Whole nodes only.
    pub is_approximate: bool,
    /// The most entries that go; 0: no bound.
    pub entries_max: u64,
    /// What becomes of groups' references.
    pub references: References,
}

/// Removes the oldest entries. Gives how many; the caller saves the head.
pub fn trim(txn: &mut Txn<'_>, key: &Key, stream: &mut Stream, wanted: &Trim) -> Outcome<u64> {
    match wanted.threshold {
        Threshold::MaxLen(len) if stream.len <= len => return Ok(0),
        Threshold::MinId(id) if stream.is_empty() || stream.extra.first_id >= id => return Ok(0),
        _ => {}
    }
    let Gone { unseen, seen, first_left } = match (wanted.is_approximate, wanted.references) {
        (true, References::Keep) => whole_nodes(txn, stream, wanted)?,
        // Redis takes no node whole then.
        (true, _) => return Ok(0),
        (false, References::Acked) => return trim_acknowledged(txn, key, stream, wanted.threshold),
        (false, _) => Gone { seen: beyond(txn, stream, wanted.threshold)?, ..Gone::default() },
    };
    let last = seen.last().map(|&(id, _)| id).or(unseen.map(|front| front.last_id));
    let Some(last) = last else { return Ok(0) };
    txn.expect_work(seen.len() as u64)?;
    let mut referrers = Referrers::load(txn, stream, wanted.references)?;
    let unseen = unseen.map_or(0, |front| u64::from(front.live));
    let gone = unseen + seen.len() as u64;
    let is_cut = gone >= CUT_ROWS_MIN;
    if is_cut {
        let lower = entry_row(&stream.place, stream.extra.first_id);
        let upper = last.next().map_or_else(|| stream.place.end(), |next| entry_row(&stream.place, next));
        txn.cut_elements(key, Family::Stream, &lower, &upper)?;
    }
    stream.len = stream.len.saturating_sub(unseen);
    for &(id, node) in &seen {
        referrers.forget(txn, key, stream, id)?;
        if is_cut {
            stream.count_off(node);
        } else {
            stream.remove_row(txn, key, id, node)?;
        }
    }
    referrers.save(txn, key, stream)?;
    match first_left.filter(|_| !stream.is_empty()) {
        Some(first_left) => stream.extra.first_id = first_left,
        None => {
            stream.extra.first_id = last.next().unwrap_or(Id::MAX);
            stream.find_first(txn)?;
        }
    }
    Ok(gone)
}

/// Removes what lies beyond a threshold, but for what a group has not acknowledged.
fn trim_acknowledged(
    txn: &mut Txn<'_>,
    key: &Key,
    stream: &mut Stream,
    threshold: Threshold,
) -> Outcome<u64> {
    let referrers = Referrers::load(txn, stream, References::Acked)?;
    let from = entry_row(&stream.place, stream.extra.first_id);
    let mut pages = Pages::between(Family::Stream, stream.place, from, stream.place.end(), PAGE_ROWS);
    let (mut seen, mut gone) = (0, 0);
    while let Some((element, value)) = pages.peek(txn)? {
        let (id, node) = (Id::read(element)?, Entry::decode(value)?.node);
        let ends = match threshold {
            Threshold::MaxLen(len) => stream.len <= len,
            Threshold::MinId(min) => id >= min,
        };
        if ends {
            break;
        }
        seen += 1;
        txn.expect_work(seen)?;
        if !referrers.object(txn, stream, id)? {
            stream.remove_row(txn, key, id, node)?;
            gone += 1;
        }
        pages.advance();
    }
    if gone > 0 {
        stream.find_first(txn)?;
    }
    Ok(gone)
}

/// The entries beyond a threshold.
fn beyond(txn: &mut Txn<'_>, stream: &Stream, threshold: Threshold) -> Outcome<Vec<(Id, u64)>> {
    let mut gone = Vec::new();
    let (to, count) = match threshold {
        Threshold::MaxLen(len) => (Id::MAX, stream.len - len),
        Threshold::MinId(id) => match id.previous() {
            Some(before) => (before, u64::MAX),
            None => return Ok(gone),
        },
    };
    if let Threshold::MaxLen(_) = threshold {
        txn.expect_work(count)?;
    }
    visit(txn, stream, (Id::MIN, to), Direction::Up, |id, entry| {
        gone.push((id, entry.node));
        Ok(if gone.len() as u64 == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(gone)
}

/// The oldest nodes that can go whole. What is learnt of the oldest that stays is kept in the head.
fn whole_nodes(txn: &mut Txn<'_>, stream: &mut Stream, wanted: &Trim) -> Outcome<Gone> {
    let mut gone: Vec<(Id, u64)> = Vec::new();
    let mut first_left = None;
    let may_go = |gone: usize, node: &Front| {
        let entries = u64::from(node.live);
        let is_allowed = wanted.entries_max == 0 || gone as u64 + entries <= wanted.entries_max;
        is_allowed
            && match wanted.threshold {
                Threshold::MaxLen(len) => stream.len - gone as u64 >= len.saturating_add(entries),
                Threshold::MinId(id) => node.last_id < id,
            }
    };
    let known_front = Some(stream.extra.front).filter(|front| front.live > 0);
    if known_front.is_some_and(|front| !may_go(0, &front)) {
        return Ok(Gone::default());
    }
    let unseen = known_front.filter(|front| u64::from(front.live) >= CUT_ROWS_MIN);
    let unseen_live = unseen.map_or(0, |front| front.live as usize);
    let may_go = |gone: usize, node: &Front| may_go(unseen_live + gone, node);
    let from = unseen.and_then(|front| front.last_id.next()).unwrap_or(Id::MIN);
    let extra = stream.extra;
    // The node being read: its entries since `start` are in `gone`, and go only if it turns out that they may.
    let mut start = 0;
    let mut front = Front::default();
    let mut ended = true;
    visit(txn, stream, (from, Id::MAX), Direction::Up, |id, entry| {
        if entry.node != front.node {
            first_left = Some(id);
            if front.live > 0 && !may_go(start, &front) {
                ended = false;
                return Ok(ControlFlow::Break(()));
            }
            start = gone.len();
            if let Threshold::MaxLen(len) = wanted.threshold
                && stream.len - (unseen_live + start) as u64 <= len
            {
                front = Front::default();
                ended = false;
                return Ok(ControlFlow::Break(()));
            }
            front = Front { node: entry.node, ..Front::default() };
            if let Some(known) = nodes::known(&extra, entry.node)
                && !may_go(start, &known)
            {
                front = known;
                ended = false;
                return Ok(ControlFlow::Break(()));
            }
        }
        gone.push((id, entry.node));
        front.live += 1;
        front.last_id = id;
        Ok(ControlFlow::Continue(()))
    })?;
    let stays = if ended { front.live > 0 && !may_go(start, &front) } else { true };
    if stays {
        if let Some(&(id, _)) = gone.get(start) {
            first_left = Some(id);
        }
        gone.truncate(start);
        // The newest node may still grow.
        stream.extra.front = if front.node == extra.tail.node { Front::default() } else { front };
    } else {
        stream.extra.front = Front::default();
        first_left = None;
    }
    Ok(Gone { unseen, seen: gone, first_left })
}
