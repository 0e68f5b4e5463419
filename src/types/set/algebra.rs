//! Unions, intersections and differences of sets.
//!
//! An intersection walks the smallest set and looks its members up in the others; a difference walks the first. The result is
//! gathered in memory, so the work grows with the members walked and what is too much for a worker goes to the pool.

use super::{Form, contains, for_each, is_integer, len};
use crate::keyspace::{Outcome, Stored, Txn};
use ahash::AHashSet;

/// How sets are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// In any of them.
    Union,
    /// In all of them.
    Intersection,
    /// In the first and in no other.
    Difference,
}

/// Combines sets (a missing one is empty). Gives the members, in Redis' order where Redis has one, and the form that a set stored of
/// them has.
pub fn combine(
    txn: &mut Txn<'_>,
    operation: Operation,
    sources: &[Option<Stored>],
) -> Outcome<(Vec<Vec<u8>>, Form)> {
    match operation {
        Operation::Union => unite(txn, sources),
        Operation::Difference => subtract(txn, sources),
        Operation::Intersection => {
            let mut members = Vec::new();
            let smallest = intersect(txn, sources, |member| {
                members.push(member.to_vec());
                true
            })?;
            let form = match smallest {
                Some(_) => form_of_common(txn, &members),
                None => Form::Intset,
            };
            Ok((members, form))
        }
    }
}

/// How many members all sets have, counting no further than `members_max`.
pub fn count_common(txn: &mut Txn<'_>, sources: &[Option<Stored>], members_max: u64) -> Outcome<u64> {
    let mut count = 0;
    intersect(txn, sources, |_| {
        count += 1;
        count < members_max
    })?;
    Ok(count)
}

/// Visits the members that all have, in the order of the smallest set, until `visit` says no. None if one of the sets is empty.
fn intersect<'s>(
    txn: &mut Txn<'_>,
    sources: &'s [Option<Stored>],
    mut visit: impl FnMut(&[u8]) -> bool,
) -> Outcome<Option<&'s Stored>> {
    let mut sets = Vec::with_capacity(sources.len());
    for source in sources {
        let Some(stored) = source else { return Ok(None) };
        sets.push((len(stored)?, stored));
    }
    sets.sort_by_key(|&(len, _)| len);
    let Some(&(smallest_len, smallest)) = sets.first() else { return Ok(None) };
    txn.expect_work(smallest_len.saturating_mul(sets.len() as u64))?;
    let mut candidates = Vec::new();
    for_each(txn, smallest, |member| candidates.push(member.to_vec()))?;
    'members: for member in &candidates {
        for (_, other) in sets.iter().skip(1) {
            if !contains(txn, other, member)? {
                continue 'members;
            }
        }
        if !visit(member) {
            break;
        }
    }
    Ok(Some(smallest))
}

/// Redis stores an intersection as a listpack and turns one of numbers only into an intset.
fn form_of_common(txn: &Txn<'_>, members: &[Vec<u8>]) -> Form {
    let tuning = txn.keyspace().tuning();
    if members.len() <= tuning.set_intset_entries_max() && members.iter().all(|member| is_integer(member)) {
        return Form::Intset;
    }
    grown_from(txn, Form::Listpack, members)
}

/// The form a set of this first form has once these members came to it one by one.
fn grown_from(txn: &Txn<'_>, mut form: Form, members: &[Vec<u8>]) -> Form {
    let mut longest = 0;
    for (len, member) in members.iter().enumerate() {
        form = form.grown(txn.keyspace().tuning(), member, len as u64, || longest);
        longest = longest.max(member.len());
    }
    form
}

/// Members in the order a set of that form shows them.
fn in_order(mut members: Vec<Vec<u8>>, form: Form) -> Vec<Vec<u8>> {
    if form == Form::Intset {
        members.sort_by_key(|member| crate::base::number::parse_i64(member));
    }
    members
}

fn unite(txn: &mut Txn<'_>, sources: &[Option<Stored>]) -> Outcome<(Vec<Vec<u8>>, Form)> {
    let (mut seen, mut members) = (AHashSet::new(), Vec::new());
    for stored in sources.iter().flatten() {
        txn.expect_work(len(stored)? + seen.len() as u64)?;
        for_each(txn, stored, |member| {
            if !seen.contains(member) {
                seen.insert(member.to_vec());
                members.push(member.to_vec());
            }
        })?;
    }
    let form = grown_from(txn, Form::Intset, &members);
    Ok((in_order(members, form), form))
}

fn subtract(txn: &mut Txn<'_>, sources: &[Option<Stored>]) -> Outcome<(Vec<Vec<u8>>, Form)> {
    let mut members = Vec::new();
    if let Some(Some(first)) = sources.first() {
        let others: Vec<&Stored> = sources.iter().skip(1).flatten().collect();
        txn.expect_work(len(first)?.saturating_mul(1 + others.len() as u64))?;
        for_each(txn, first, |member| members.push(member.to_vec()))?;
        let mut kept = Vec::with_capacity(members.len());
        'members: for member in members {
            for other in &others {
                if contains(txn, other, &member)? {
                    continue 'members;
                }
            }
            kept.push(member);
        }
        members = kept;
    }
    let form = grown_from(txn, Form::Intset, &members);
    Ok((in_order(members, form), form))
}
