//! Unions, intersections and differences of sorted sets and sets; a set's members have the score 1.
//!
//! Sources come in the order of the command. As in Redis, unions and intersections go through them from the smallest to the largest,
//! which decides in which order scores are added up. An intersection or difference asks the larger sources for single members, and a
//! difference goes through a source whole when that is the cheaper way. The result is gathered in memory and sorted by who stores or
//! shows it; large ones are the pool's. What is stored is merged from the sources' rows when they are large.

use super::build::Target;
use super::{OwnedPair, for_each, len, replace, score};
use crate::encoding::head::{Body, DataType};
use crate::encoding::packed::Packed;
use crate::encoding::score::order_of;
use crate::keyspace::{Error, Key, Outcome, Stored, Txn};
use crate::types::merge::{self, Scores};
use crate::types::set;
use ahash::AHashMap;

/// A source this many times larger than what is to be looked up is asked member by member.
const LOOKUP_FACTOR: u64 = 4;

pub use crate::types::merge::Operation;

/// What becomes of the scores of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// They are added.
    Sum,
    /// The lowest counts.
    Min,
    /// The highest counts.
    Max,
}

impl Aggregate {
    fn of(self, score: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => or_zero(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            _ => score,
        }
    }
}

/// Infinities of both signs cancel out.
fn or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A key to be combined with others.
pub struct Source {
    stored: Option<Stored>,
    /// What its scores are multiplied with.
    pub weight: f64,
}

/// Loads a key that must be a sorted set or a set, if it exists.
pub fn load_source(txn: &mut Txn<'_>, key: &Key) -> Outcome<Source> {
    let stored = txn.load(key)?;
    match stored.as_ref().map(Stored::data_type) {
        None | Some(DataType::Zset | DataType::Set) => Ok(Source { stored, weight: 1.0 }),
        Some(_) => Err(Error::WrongType.into()),
    }
}

impl Source {
    fn len(&self) -> Outcome<u64> {
        match &self.stored {
            None => Ok(0),
            Some(stored) => match (stored.data_type(), stored.body()) {
                (DataType::Set, Body::Whole(bytes)) => Ok(Packed::decode(bytes)?.count()),
                (DataType::Set, Body::Spread(spread)) => Ok(spread.count),
                _ => len(stored),
            },
        }
    }

    fn for_each(&self, txn: &mut Txn<'_>, mut visit: impl FnMut(&[u8], f64)) -> Outcome {
        match &self.stored {
            None => Ok(()),
            Some(stored) if stored.data_type() == DataType::Set => {
                set::for_each(txn, stored, |member| visit(member, 1.0))
            }
            Some(stored) => for_each(txn, stored, visit),
        }
    }

    fn score(&self, txn: &mut Txn<'_>, member: &[u8]) -> Outcome<Option<f64>> {
        match &self.stored {
            None => Ok(None),
            Some(stored) if stored.data_type() == DataType::Set => {
                Ok(set::contains(txn, stored, member)?.then_some(1.0))
            }
            Some(stored) => score(txn, stored, member),
        }
    }

    /// All its members with their scores as they are.
    fn gather(&self, txn: &mut Txn<'_>) -> Outcome<Vec<OwnedPair>> {
        let mut pairs = Vec::new();
        self.for_each(txn, |member, score| pairs.push((score, member.to_vec())))?;
        Ok(pairs)
    }
}

/// Combines the sources; the members come sorted by score and name.
pub fn combine(
    txn: &mut Txn<'_>,
    operation: Operation,
    mut sources: Vec<Source>,
    aggregate: Aggregate,
) -> Outcome<Vec<OwnedPair>> {
    let mut members = match operation {
        Operation::Union => {
            sort_by_len(&mut sources)?;
            unite(txn, &sources, aggregate)?
        }
        Operation::Intersection => {
            sort_by_len(&mut sources)?;
            intersect(txn, &sources, aggregate)?
        }
        Operation::Difference => subtract(txn, &sources)?,
    };
    members.sort_by(|a, b| (order_of(a.0), &a.1).cmp(&(order_of(b.0), &b.1)));
    Ok(members)
}

/// Stores a combination under a key, whatever it was; no members are no key. Gives how many there are.
pub fn combine_into(
    txn: &mut Txn<'_>,
    key: &Key,
    operation: Operation,
    mut sources: Vec<Source>,
    aggregate: Aggregate,
) -> Outcome<u64> {
    if operation != Operation::Difference {
        sort_by_len(&mut sources)?;
    }
    let stored: Vec<Option<&Stored>> = sources.iter().map(|source| source.stored.as_ref()).collect();
    let work = match (operation, sources.first()) {
        (_, None) => 0,
        (Operation::Union, _) => merge::members(&stored)?,
        (_, Some(first)) => first.len()?.saturating_mul(sources.len() as u64),
    };
    if work <= txn.keyspace().tuning().batch_rows_max() as u64 {
        let members = combine(txn, operation, sources, aggregate)?;
        return replace(txn, key, &members);
    }
    txn.expect_work(work)?;
    let mut target = Target::new(key);
    let scores =
        Weighted { operation, aggregate, weights: sources.iter().map(|source| source.weight).collect() };
    merge::merge(txn, operation, &stored, &scores, &mut |txn, member, score| target.add(txn, score, member))?;
    target.save(txn)
}

/// The scores of one combination.
struct Weighted {
    operation: Operation,
    aggregate: Aggregate,
    weights: Vec<f64>,
}

impl Scores for Weighted {
    fn weigh(&self, source: usize, score: f64) -> f64 {
        match self.operation {
            Operation::Difference => score,
            _ => or_zero(self.weights.get(source).unwrap_or(&1.0) * score),
        }
    }

    fn take_in(&self, score: f64, source: usize, other: f64) -> f64 {
        let weighed = self.weights.get(source).unwrap_or(&1.0) * other;
        let weighed = if self.operation == Operation::Union { or_zero(weighed) } else { weighed };
        self.aggregate.of(score, weighed)
    }
}

fn sort_by_len(sources: &mut Vec<Source>) -> Outcome {
    let mut by_len = Vec::with_capacity(sources.len());
    for source in sources.drain(..) {
        by_len.push((source.len()?, source));
    }
    by_len.sort_by_key(|(len, _)| *len);
    sources.extend(by_len.into_iter().map(|(_, source)| source));
    Ok(())
}

fn unite(txn: &mut Txn<'_>, sources: &[Source], aggregate: Aggregate) -> Outcome<Vec<OwnedPair>> {
    let mut work = 0u64;
    for source in sources {
        work = work.saturating_add(source.len()?);
    }
    txn.expect_work(work)?;
    let mut united: AHashMap<Vec<u8>, f64> = AHashMap::new();
    for source in sources {
        source.for_each(txn, |member, score| {
            let score = or_zero(source.weight * score);
            match united.get_mut(member) {
                Some(sum) => *sum = aggregate.of(*sum, score),
                None => {
                    united.insert(member.to_vec(), score);
                }
            }
        })?;
    }
    Ok(united.into_iter().map(|(member, score)| (score, member)).collect())
}

/// The sources are sorted, the smallest first.
fn intersect(txn: &mut Txn<'_>, sources: &[Source], aggregate: Aggregate) -> Outcome<Vec<OwnedPair>> {
    let Some((smallest, others)) = sources.split_first() else { return Ok(Vec::new()) };
    expect_lookups(txn, smallest, others.len())?;
    let mut common = smallest.gather(txn)?;
    for (score, _) in &mut common {
        *score = or_zero(smallest.weight * *score);
    }
    for other in others {
        let mut left = Vec::with_capacity(common.len());
        for (sum, member) in common {
            if let Some(score) = other.score(txn, &member)? {
                left.push((aggregate.of(sum, score * other.weight), member));
            }
        }
        common = left;
    }
    Ok(common)
}

fn expect_lookups(txn: &Txn<'_>, smallest: &Source, others: usize) -> Outcome {
    txn.expect_work(smallest.len()?.saturating_mul(others as u64 + 1))
}

/// How many members all sources have, counted up to `members_max`.
pub fn count_common(txn: &mut Txn<'_>, mut sources: Vec<Source>, members_max: u64) -> Outcome<u64> {
    sort_by_len(&mut sources)?;
    let Some((smallest, others)) = sources.split_first() else { return Ok(0) };
    expect_lookups(txn, smallest, others.len())?;
    let mut common = 0;
    'members: for (_, member) in smallest.gather(txn)? {
        for other in others {
            if other.score(txn, &member)?.is_none() {
                continue 'members;
            }
        }
        common += 1;
        if common >= members_max {
            break;
        }
    }
    Ok(common)
}

fn subtract(txn: &mut Txn<'_>, sources: &[Source]) -> Outcome<Vec<OwnedPair>> {
    let Some((first, others)) = sources.split_first() else { return Ok(Vec::new()) };
    expect_lookups(txn, first, others.len())?;
    let mut left: AHashMap<Vec<u8>, f64> =
        first.gather(txn)?.into_iter().map(|(score, member)| (member, score)).collect();
    for other in others {
        if left.is_empty() {
            break;
        }
        if other.len()? > LOOKUP_FACTOR * left.len() as u64 {
            let mut gone = Vec::new();
            for member in left.keys() {
                if other.score(txn, member)?.is_some() {
                    gone.push(member.clone());
                }
            }
            for member in gone {
                left.remove(&member);
            }
        } else {
            other.for_each(txn, |member, _| {
                left.remove(member);
            })?;
        }
    }
    Ok(left.into_iter().map(|(member, score)| (score, member)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_of_both_signs_cancel_out() {
        let inf = f64::INFINITY;
        assert_eq!(Aggregate::Sum.of(inf, -inf), 0.0);
        assert_eq!(Aggregate::Sum.of(1.0, 2.5), 3.5);
        assert_eq!(Aggregate::Min.of(inf, -inf), -inf);
        assert_eq!(Aggregate::Max.of(-inf, 3.0), 3.0);
        assert_eq!(or_zero(0.0 * inf), 0.0);
    }

    #[test]
    fn what_is_not_a_number_is_neither_lowest_nor_highest() {
        assert_eq!(Aggregate::Min.of(1.0, f64::NAN), 1.0);
        assert_eq!(Aggregate::Max.of(1.0, f64::NAN), 1.0);
        assert_eq!(Aggregate::Sum.of(1.0, f64::NAN), 0.0);
    }
}
