//! Large sets and sorted sets combined in step: the members of all lie in the order of their positions, so a union, intersection or
//! difference is a merge of their rows. No more than a page of each is in memory.
//!
//! An *element* is a member with its position before it, as it stands in a row behind the place. A packed collection is brought into
//! that order first. A union takes the lowest element that any of them shows next. An intersection or difference goes through its
//! first collection and has the others follow, or, if one is many times as large, asks it for single members.

use super::pages::{PAGE_ROWS, Pages};
use super::{set, zset};
use crate::encoding::Family;
use crate::encoding::head::{Body, DataType};
use crate::encoding::row::{POSITION_LEN, Position, RowKey};
use crate::encoding::score::decode_score;
use crate::keyspace::{Outcome, Stored, Txn};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A collection this many times larger than the first is asked member by member.
const LOOKUP_FACTOR: u64 = 8;
/// Rows of all pages together, about.
const ROWS_IN_MEMORY: usize = 64 << 10;

/// What is done with the collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Members of any.
    Union,
    /// Members of all.
    Intersection,
    /// Members of the first alone.
    Difference,
}

/// What becomes of the scores of a member that several have.
pub trait Scores {
    /// The score with which a source's member goes in; `source` counts from 0.
    fn weigh(&self, source: usize, score: f64) -> f64;
    /// Takes in that of a later source, as it is stored.
    fn take_in(&self, score: f64, source: usize, other: f64) -> f64;
}

/// Sets have none.
pub struct Unscored;

impl Scores for Unscored {
    fn weigh(&self, _source: usize, _score: f64) -> f64 {
        1.0
    }

    fn take_in(&self, score: f64, _source: usize, _other: f64) -> f64 {
        score
    }
}

/// How many members there are in all the sources together.
pub fn members(sources: &[Option<&Stored>]) -> Outcome<u64> {
    let mut members = 0u64;
    for stored in sources.iter().copied().flatten() {
        members = members.saturating_add(len(stored)?);
    }
    Ok(members)
}

fn len(stored: &Stored) -> Outcome<u64> {
    match stored.data_type() {
        DataType::Set => set::len(stored),
        _ => zset::len(stored),
    }
}

/// Shows the members of the result to `visit`, with their scores, in the order of their positions.
pub fn merge(
    txn: &mut Txn<'_>,
    operation: Operation,
    sources: &[Option<&Stored>],
    scores: &dyn Scores,
    visit: &mut dyn FnMut(&mut Txn<'_>, &[u8], f64) -> Outcome,
) -> Outcome {
    match operation {
        Operation::Union => unite(txn, sources, scores, visit),
        Operation::Intersection | Operation::Difference => {
            follow(txn, operation == Operation::Intersection, sources, scores, visit)
        }
    }
}

/// The members of one collection, in order.
enum Cursor {
    Packed { elements: Vec<(RowKey, f64)>, at: usize },
    Rows { pages: Box<Pages>, is_set: bool },
}

impl Cursor {
    fn of(txn: &mut Txn<'_>, stored: &Stored, page_rows: usize) -> Outcome<Cursor> {
        let is_set = stored.data_type() == DataType::Set;
        if let Body::Spread(spread) = stored.body() {
            let family = if is_set { Family::Set } else { Family::Member };
            return Ok(Cursor::Rows { pages: Box::new(Pages::new(family, spread.place, page_rows)), is_set });
        }
        let seed = txn.keyspace().seed();
        let mut elements = Vec::new();
        let mut add = |member: &[u8], score| {
            elements.push((element_of(&Position::of_element(seed, member), member), score))
        };
        if is_set {
            set::for_each(txn, stored, |member| add(member, 1.0))?;
        } else {
            zset::for_each(txn, stored, add)?;
        }
        elements.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(Cursor::Packed { elements, at: 0 })
    }

    fn peek(&mut self, txn: &mut Txn<'_>) -> Outcome<Option<(&[u8], f64)>> {
        match self {
            Cursor::Packed { elements, at } => {
                Ok(elements.get(*at).map(|(element, score)| (&element[..], *score)))
            }
            Cursor::Rows { pages, is_set } => match pages.peek(txn)? {
                None => Ok(None),
                Some((element, _)) if *is_set => Ok(Some((element, 1.0))),
                Some((element, value)) => Ok(Some((element, decode_score(value)?))),
            },
        }
    }

    fn advance(&mut self) {
        match self {
            Cursor::Packed { at, .. } => *at += 1,
            Cursor::Rows { pages, .. } => pages.advance(),
        }
    }

    /// The score of an element, which lies behind all those asked for before; none if it is not there.
    fn follow(&mut self, txn: &mut Txn<'_>, wanted: &[u8]) -> Outcome<Option<f64>> {
        while let Some((element, score)) = self.peek(txn)? {
            match element.cmp(wanted) {
                Ordering::Less => self.advance(),
                Ordering::Equal => return Ok(Some(score)),
                Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }
}

fn element_of(position: &Position, member: &[u8]) -> RowKey {
    let mut element = RowKey::from_slice(&position.bytes());
    element.extend_from_slice(member);
    element
}

fn member_of(element: &[u8]) -> &[u8] {
    element.get(POSITION_LEN..).unwrap_or_default()
}

fn page_rows(sources: usize) -> usize {
    (ROWS_IN_MEMORY / sources.max(1)).clamp(4, PAGE_ROWS)
}

fn unite(
    txn: &mut Txn<'_>,
    sources: &[Option<&Stored>],
    scores: &dyn Scores,
    visit: &mut dyn FnMut(&mut Txn<'_>, &[u8], f64) -> Outcome,
) -> Outcome {
    let page_rows = page_rows(sources.len());
    let mut cursors = Vec::with_capacity(sources.len());
    // The lowest element first and, of one that several have, the earlier source.
    let mut next = BinaryHeap::with_capacity(sources.len());
    for (source, stored) in sources.iter().enumerate() {
        let Some(stored) = stored else { continue };
        let mut cursor = Cursor::of(txn, stored, page_rows)?;
        if let Some((element, score)) = cursor.peek(txn)? {
            next.push(Reverse(Next { element: RowKey::from_slice(element), cursor: cursors.len(), score }));
            cursors.push((source, cursor));
        }
    }
    let mut current: Option<(RowKey, f64)> = None;
    while let Some(Reverse(Next { element, cursor: at, score })) = next.pop() {
        let Some((source, cursor)) = cursors.get_mut(at) else { continue };
        cursor.advance();
        if let Some((element, score)) = cursor.peek(txn)? {
            next.push(Reverse(Next { element: RowKey::from_slice(element), cursor: at, score }));
        }
        match &mut current {
            Some((of, sum)) if *of == element => *sum = scores.take_in(*sum, *source, score),
            _ => {
                if let Some((element, score)) = current.take() {
                    visit(txn, member_of(&element), score)?;
                }
                current = Some((element, scores.weigh(*source, score)));
            }
        }
    }
    match current {
        Some((element, score)) => visit(txn, member_of(&element), score),
        None => Ok(()),
    }
}

/// What a source shows next.
struct Next {
    element: RowKey,
    cursor: usize,
    score: f64,
}

impl Ord for Next {
    fn cmp(&self, other: &Next) -> Ordering {
        (&self.element, self.cursor).cmp(&(&other.element, other.cursor))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Next) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Next) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Next {}

/// How a source is asked whether it has a member.
enum Follower<'s> {
    Cursor(Cursor),
    Lookup(&'s Stored),
}

impl Follower<'_> {
    fn score(&mut self, txn: &mut Txn<'_>, element: &[u8]) -> Outcome<Option<f64>> {
        match self {
            Follower::Cursor(cursor) => cursor.follow(txn, element),
            Follower::Lookup(stored) if stored.data_type() == DataType::Set => {
                Ok(set::contains(txn, stored, member_of(element))?.then_some(1.0))
            }
            Follower::Lookup(stored) => zset::score(txn, stored, member_of(element)),
        }
    }
}

/// Goes through the first source: shows what all others have, too, or what none of them has.
fn follow(
    txn: &mut Txn<'_>,
    in_all: bool,
    sources: &[Option<&Stored>],
    scores: &dyn Scores,
    visit: &mut dyn FnMut(&mut Txn<'_>, &[u8], f64) -> Outcome,
) -> Outcome {
    let Some((Some(first), others)) = sources.split_first() else { return Ok(()) };
    if in_all && others.iter().any(Option::is_none) {
        return Ok(());
    }
    let (page_rows, first_len) = (page_rows(sources.len()), len(first)?);
    let mut followers = Vec::with_capacity(others.len());
    for (at, other) in others.iter().enumerate() {
        let Some(other) = other else { continue };
        let is_far_larger = len(other)? > first_len.saturating_mul(LOOKUP_FACTOR);
        followers.push(match is_far_larger {
            true => (at + 1, Follower::Lookup(other)),
            false => (at + 1, Follower::Cursor(Cursor::of(txn, other, page_rows)?)),
        });
    }
    let mut cursor = Cursor::of(txn, first, page_rows)?;
    'members: while let Some((element, score)) = cursor.peek(txn)? {
        let (element, mut sum) = (RowKey::from_slice(element), scores.weigh(0, score));
        cursor.advance();
        for (source, follower) in &mut followers {
            match follower.score(txn, &element)? {
                Some(score) if in_all => sum = scores.take_in(sum, *source, score),
                None if !in_all => {}
                _ => continue 'members,
            }
        }
        visit(txn, member_of(&element), sum)?;
    }
    Ok(())
}
