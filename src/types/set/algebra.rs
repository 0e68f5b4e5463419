//! Unions, intersections and differences of sets.
//!
//! An intersection walks the smallest set and looks its members up in the others; a difference walks the first. What is shown is
//! gathered in memory, so the work grows with the members walked and what is too much for a worker goes to the pool. What is stored
//! is merged from the sources' rows when they are large, and a large result written as it comes (`Txn::begin_build`).

use super::{Form, contains, for_each, is_integer, len, store};
use crate::encoding::Family;
use crate::encoding::head::{Body, DataType, Spread};
use crate::keyspace::{Build, Key, NewHead, Outcome, Stored, Txn};
use crate::types::merge::{self, Unscored};
use ahash::AHashSet;

pub use crate::types::merge::Operation;

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

/// Stores a combination of sets under a key, whatever it was; no members are no key. Gives how many there are.
pub fn combine_into(
    txn: &mut Txn<'_>,
    key: &Key,
    operation: Operation,
    sources: &[Option<Stored>],
) -> Outcome<u64> {
    let mut sets: Vec<Option<&Stored>> = sources.iter().map(Option::as_ref).collect();
    let lens: Vec<u64> = sources.iter().flatten().map(len).collect::<Outcome<_>>()?;
    let work = match operation {
        Operation::Union => merge::members(&sets)?,
        Operation::Difference => lens.first().map_or(0, |first| first.saturating_mul(sets.len() as u64)),
        Operation::Intersection if lens.len() < sets.len() => 0,
        Operation::Intersection => {
            lens.iter().min().map_or(0, |least| least.saturating_mul(sets.len() as u64))
        }
    };
    if work <= txn.keyspace().tuning().batch_rows_max() as u64 {
        let (members, form) = combine(txn, operation, sources)?;
        store(txn, key, &members, form)?;
        return Ok(members.len() as u64);
    }
    txn.expect_work(work)?;
    if operation == Operation::Intersection {
        sets.sort_by_cached_key(|set| set.map_or(0, |set| len(set).unwrap_or(0)));
    }
    let form = match operation {
        Operation::Intersection => Form::Listpack,
        Operation::Union => Form::Intset,
        Operation::Difference => first_form_of_difference(txn, sources)?,
    };
    let mut target = Target::new(key, operation, form);
    merge::merge(txn, operation, &sets, &Unscored, &mut |txn, member, _| target.add(txn, member))?;
    target.save(txn)
}

/// The result of a large operation: gathered until it is large itself, then written as it comes.
struct Target<'k> {
    key: &'k Key,
    operation: Operation,
    members: Vec<Vec<u8>>,
    build: Option<Build>,
    count: u64,
    form: Form,
    longest: usize,
    all_integers: bool,
}

impl Target<'_> {
    fn new(key: &Key, operation: Operation, form: Form) -> Target<'_> {
        let members = Vec::new();
        Target { key, operation, members, build: None, count: 0, form, longest: 0, all_integers: true }
    }

    fn add(&mut self, txn: &mut Txn<'_>, member: &[u8]) -> Outcome {
        let longest = self.longest;
        self.form = self.form.grown(txn.keyspace().tuning(), member, self.count, || longest);
        self.longest = longest.max(member.len());
        self.all_integers = self.all_integers && is_integer(member);
        self.count += 1;
        if let Some(build) = &mut self.build {
            return put(txn, build, self.key, member);
        }
        self.members.push(member.to_vec());
        let rows_max = txn.keyspace().tuning().batch_rows_max();
        if self.members.len() > rows_max {
            let mut build = txn.begin_build(self.key, DataType::Set, self.count);
            for member in std::mem::take(&mut self.members) {
                put(txn, &mut build, self.key, &member)?;
            }
            self.build = Some(build);
        }
        Ok(())
    }

    fn save(self, txn: &mut Txn<'_>) -> Outcome<u64> {
        let mut form = self.form;
        let intset_max = txn.keyspace().tuning().set_intset_entries_max() as u64;
        if self.operation == Operation::Intersection && self.all_integers && self.count <= intset_max {
            form = Form::Intset;
        }
        let Some(build) = self.build else {
            store(txn, self.key, &in_order(self.members, form), form)?;
            return Ok(self.count);
        };
        let body = Body::Spread(Spread { place: build.place(), count: self.count, extra: b"" });
        txn.end_build(build)?;
        txn.save(self.key, NewHead::new(DataType::Set, body).noted(form as u8))?;
        Ok(self.count)
    }
}

fn put(txn: &mut Txn<'_>, build: &mut Build, key: &Key, member: &[u8]) -> Outcome {
    let row = build.place().field_row(txn.keyspace().seed(), member);
    txn.build_row(build, key, Family::Set, &row, b"")
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
    let form = first_form_of_difference(txn, sources)?;
    let form = grown_from(txn, form, &members);
    Ok((in_order(members, form), form))
}

/// Whether Redis makes this difference by taking the other sets' members away from a copy of the first, instead of looking the
/// first's members up in the others: it takes what visits fewer members, a lookup counting half. A copy's form is that of the
/// whole first set and stays what it is whatever is taken away.
fn takes_away(sources: &[Option<Stored>]) -> Outcome<bool> {
    let lens: Vec<u64> = sources.iter().flatten().map(len).collect::<Outcome<_>>()?;
    let Some(Some(first)) = sources.first() else { return Ok(false) };
    let lookups = len(first)?.saturating_mul(lens.len() as u64) / 2;
    Ok(lookups > lens.iter().sum())
}

/// The form a difference has before the members that are kept come to it.
fn first_form_of_difference(txn: &mut Txn<'_>, sources: &[Option<Stored>]) -> Outcome<Form> {
    let Some(Some(first)) = sources.first() else { return Ok(Form::Intset) };
    if !takes_away(sources)? {
        return Ok(Form::Intset);
    }
    let tuning = txn.keyspace().tuning();
    if len(first)? > tuning.set_intset_entries_max().max(tuning.set_entries_max()) as u64 {
        return Ok(Form::Hashtable);
    }
    let mut members = Vec::new();
    for_each(txn, first, |member| members.push(member.to_vec()))?;
    Ok(grown_from(txn, Form::Intset, &members))
}
