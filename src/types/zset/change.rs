//! Adding members and changing scores, under ZADD's conditions; removing members by name.

use super::rows::Rows;
use super::{NOTE_SKIPLIST, Pair, Pairs, Unfinished, read_packed, save_all, sort};
use crate::encoding::Family;
use crate::encoding::head::{Body, Spread};
use crate::encoding::score::decode_score;
use crate::keyspace::{Key, Outcome, Stored, Txn, fail};
use ahash::AHashMap;
use std::cmp::Ordering;

/// Above so many members, old and new, they are found through an index.
const LINEAR_MAX: usize = 48;

/// Which members ZADD may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// All.
    Any,
    /// Only new ones (NX).
    New,
    /// Only those that are there (XX).
    Old,
}

/// How ZADD treats each member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Which members it may touch.
    pub condition: Condition,
    /// A score changes only to one that compares so to the old one (GT, LT).
    pub only: Option<Ordering>,
    /// The score given is added to the old one.
    pub increments: bool,
}

/// What ZADD did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Added {
    /// New members.
    pub added: u64,
    /// Members with another score than before.
    pub updated: u64,
    /// The score of the last member, unless the rule forbade to touch it.
    pub score: Option<f64>,
}

/// What is to become of one member.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Forbidden,
    Same(f64),
    Add(f64),
    Update(f64, f64),
}

impl Rule {
    fn decide(&self, old: Option<f64>, given: f64) -> Outcome<Change> {
        let Some(old) = old else {
            return Ok(if self.condition == Condition::Old { Change::Forbidden } else { Change::Add(given) });
        };
        if self.condition == Condition::New {
            return Ok(Change::Forbidden);
        }
        let new = if self.increments { old + given } else { given };
        if new.is_nan() {
            return fail("ERR resulting score is not a number (NaN)");
        }
        if self.only.is_some() && new.partial_cmp(&old) != self.only {
            return Ok(Change::Forbidden);
        }
        Ok(if new == old { Change::Same(new) } else { Change::Update(old, new) })
    }
}

impl Added {
    fn count(&mut self, change: Change) {
        match change {
            Change::Forbidden => self.score = None,
            Change::Same(score) => self.score = Some(score),
            Change::Add(score) => {
                self.added += 1;
                self.score = Some(score);
            }
            Change::Update(_, score) => {
                self.updated += 1;
                self.score = Some(score);
            }
        }
    }

    fn changes(&self) -> bool {
        self.added + self.updated > 0
    }
}

/// Adds members or changes their scores, one after the other.
pub fn add<'a>(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: Option<&'a Stored>,
    rule: Rule,
    given: impl ExactSizeIterator<Item = Pair<'a>> + Clone,
) -> Outcome<Added> {
    if stored.is_none() && rule.condition == Condition::Old {
        return Ok(Added::default());
    }
    txn.expect_work(given.len() as u64)?;
    let tuning = txn.keyspace().tuning();
    let (entries_max, value_bytes_max) = (tuning.zset_entries_max(), tuning.zset_value_bytes_max());
    let mut head = Unfinished::of(stored);
    // Redis chooses a new one's form by the first member and by how many are announced.
    let is_long =
        stored.is_none() && given.clone().next().is_some_and(|(_, member)| member.len() > value_bytes_max);
    if is_long || given.len() > entries_max {
        head.note |= NOTE_SKIPLIST;
    }
    let note_before = stored.map_or(0, Stored::note);
    let plan = Plan { rule, head, note_before, entries_max, value_bytes_max };
    match stored.map(Stored::body) {
        None => add_packed(txn, key, plan, Pairs::new(), given),
        Some(Body::Whole(bytes)) => add_packed(txn, key, plan, read_packed(bytes)?, given),
        Some(Body::Spread(spread)) => add_rows(txn, key, plan, spread, given),
    }
}

/// An `add` under way.
struct Plan {
    rule: Rule,
    /// As it will be.
    head: Unfinished,
    note_before: u8,
    /// Up to where Redis keeps a listpack.
    entries_max: usize,
    value_bytes_max: usize,
}

impl Plan {
    /// Before a member is added to so many.
    fn announce(&mut self, count: u64, member: &[u8]) {
        if count + 1 > self.entries_max as u64 || member.len() > self.value_bytes_max {
            self.head.note |= NOTE_SKIPLIST;
        }
    }
}

fn add_packed<'a>(
    txn: &mut Txn<'_>,
    key: &Key,
    mut plan: Plan,
    mut pairs: Pairs<'a>,
    given: impl ExactSizeIterator<Item = Pair<'a>>,
) -> Outcome<Added> {
    let mut index = Index::of(&pairs, given.len());
    let mut done = Added::default();
    for (score, member) in given {
        let at = index.find(&pairs, member);
        let change = plan.rule.decide(at.and_then(|at| pairs.get(at)).map(|pair| pair.0), score)?;
        match (change, at.and_then(|at| pairs.get_mut(at))) {
            (Change::Update(_, score), Some(pair)) => pair.0 = plan.head.kept(score),
            (Change::Add(score), _) => {
                plan.announce(pairs.len() as u64, member);
                index.note(pairs.len(), member);
                pairs.push((plan.head.kept(score), member));
            }
            _ => {}
        }
        done.count(change);
    }
    if done.changes() {
        sort(&mut pairs);
    }
    if done.changes() || plan.head.note != plan.note_before {
        save_all(txn, key, plan.head, &pairs)?;
    }
    Ok(done)
}

/// Finds members in a list: by going through it, or by a map when that would be long.
struct Index<'a>(Option<AHashMap<&'a [u8], usize>>);

impl<'a> Index<'a> {
    fn of(pairs: &[Pair<'a>], more: usize) -> Index<'a> {
        let is_worth_it = more > 1 && pairs.len() + more > LINEAR_MAX;
        Index(is_worth_it.then(|| pairs.iter().enumerate().map(|(at, pair)| (pair.1, at)).collect()))
    }

    fn find(&self, pairs: &[Pair<'a>], member: &[u8]) -> Option<usize> {
        match &self.0 {
            Some(map) => map.get(member).copied(),
            None => pairs.iter().position(|pair| pair.1 == member),
        }
    }

    fn note(&mut self, at: usize, member: &'a [u8]) {
        if let Some(map) = &mut self.0 {
            map.insert(member, at);
        }
    }
}

fn add_rows<'a>(
    txn: &mut Txn<'_>,
    key: &Key,
    mut plan: Plan,
    spread: Spread<'_>,
    given: impl Iterator<Item = Pair<'a>>,
) -> Outcome<Added> {
    let mut rows = Rows::decode(spread)?;
    let mut done = Added::default();
    for (score, member) in given {
        let row = rows.member_row(txn, member);
        let old = txn.element(Family::Member, &row)?.as_deref().map(decode_score).transpose()?;
        let change = plan.rule.decide(old, score)?;
        match change {
            Change::Update(old, new) => {
                rows.change(txn, key, (old, plan.head.kept(new)), member, &row)?;
            }
            Change::Add(score) => {
                plan.announce(rows.count, member);
                rows.put(txn, key, plan.head.kept(score), member, &row)?;
            }
            _ => {}
        }
        done.count(change);
    }
    // A change in the middle leaves the head as it was.
    let is_same = done.added == 0 && plan.head.note == plan.note_before;
    if !is_same || !rows.are_said_by(txn, spread.extra) {
        rows.save(txn, key, plan.head)?;
    }
    Ok(done)
}

/// Removes members; one that comes twice is gone the second time. A sorted set without members is no more. Gives how many.
pub fn remove<'m>(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    members: impl ExactSizeIterator<Item = &'m [u8]>,
) -> Outcome<u64> {
    txn.expect_work(members.len() as u64)?;
    let head = Unfinished::of(Some(stored));
    match stored.body() {
        Body::Whole(bytes) => {
            let mut pairs = read_packed(bytes)?;
            let before = pairs.len();
            for member in members {
                if let Some(at) = pairs.iter().position(|pair| pair.1 == member) {
                    pairs.remove(at);
                }
            }
            if pairs.is_empty() {
                txn.delete(key)?;
            } else if pairs.len() < before {
                save_all(txn, key, head, &pairs)?;
            }
            Ok((before - pairs.len()) as u64)
        }
        Body::Spread(spread) => {
            let mut rows = Rows::decode(spread)?;
            for member in members {
                let row = rows.member_row(txn, member);
                if let Some(score) = txn.element(Family::Member, &row)? {
                    rows.delete(txn, key, decode_score(&score)?, member, &row)?;
                }
            }
            let removed = spread.count.saturating_sub(rows.count);
            if removed > 0 {
                rows.save(txn, key, head)?;
            }
            Ok(removed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(condition: Condition, only: Option<Ordering>, increments: bool) -> Rule {
        Rule { condition, only, increments }
    }

    #[test]
    fn conditions_forbid_and_equal_scores_change_nothing() {
        use Condition::{Any, New, Old};
        let check = |rule: Rule, old, given, expected| {
            assert_eq!(rule.decide(old, given).unwrap(), expected, "{rule:?} {old:?} {given}");
        };
        check(rule(Any, None, false), None, 1.0, Change::Add(1.0));
        check(rule(Any, None, false), Some(1.0), 1.0, Change::Same(1.0));
        check(rule(Any, None, false), Some(0.0), -0.0, Change::Same(-0.0));
        check(rule(Any, None, false), Some(1.0), 2.0, Change::Update(1.0, 2.0));
        check(rule(New, None, false), Some(1.0), 2.0, Change::Forbidden);
        check(rule(Old, None, false), None, 2.0, Change::Forbidden);
        check(rule(Any, Some(Ordering::Greater), false), Some(3.0), 2.0, Change::Forbidden);
        check(rule(Any, Some(Ordering::Greater), false), Some(3.0), 3.0, Change::Forbidden);
        check(rule(Any, Some(Ordering::Greater), false), None, 2.0, Change::Add(2.0));
        check(rule(Old, Some(Ordering::Less), false), Some(3.0), 2.0, Change::Update(3.0, 2.0));
        check(rule(Any, Some(Ordering::Greater), true), Some(3.0), 2.0, Change::Update(3.0, 5.0));
        assert!(rule(Any, None, true).decide(Some(f64::INFINITY), f64::NEG_INFINITY).is_err());
    }

    #[test]
    fn an_index_finds_what_going_through_finds() {
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let pairs: Vec<Pair<'_>> = names.iter().map(|name| (0.0, name.as_bytes())).collect();
        let mut index = Index::of(&pairs[..60], 40);
        assert!(index.0.is_some() && Index::of(&pairs[..60], 1).0.is_none());
        (60..100).for_each(|at| index.note(at, pairs[at].1));
        for pair in &pairs {
            assert_eq!(index.find(&pairs, pair.1), Index(None).find(&pairs, pair.1));
        }
        assert_eq!(index.find(&pairs, b"x"), None);
    }
}
