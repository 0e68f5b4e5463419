//! ZADD, ZINCRBY, ZREM.

use crate::base::number::parse_f64;
use crate::dispatch::Call;
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::{Args, Reply};
use crate::types::zset::{self, Condition, Rule};
use smallvec::SmallVec;
use std::cmp::Ordering;

/// What stands between ZADD's key and its scores.
#[derive(Debug, PartialEq)]
struct Options {
    rule: Rule,
    /// Changed members are counted too (CH).
    counts_changes: bool,
    /// Where the scores begin.
    first: usize,
}

fn options(args: Args<'_>, increments: bool) -> Outcome<Options> {
    let (mut new, mut old, mut greater, mut less, mut increments) = (false, false, false, false, increments);
    let (mut counts_changes, mut first) = (false, 2);
    while let Some(word) = args.get(first) {
        match word.to_ascii_lowercase().as_slice() {
            b"nx" => new = true,
            b"xx" => old = true,
            b"gt" => greater = true,
            b"lt" => less = true,
            b"ch" => counts_changes = true,
            b"incr" => increments = true,
            _ => break,
        }
        first += 1;
    }
    let words = args.len().saturating_sub(first);
    if words == 0 || words % 2 == 1 {
        return Err(Error::Syntax.into());
    }
    if new && old {
        return fail("ERR XX and NX options at the same time are not compatible");
    }
    if (new && (greater || less)) || (greater && less) {
        return fail("ERR GT, LT, and/or NX options at the same time are not compatible");
    }
    if increments && words > 2 {
        return fail("ERR INCR option supports a single increment-element pair");
    }
    let condition = match (new, old) {
        (true, _) => Condition::New,
        (_, true) => Condition::Old,
        _ => Condition::Any,
    };
    let only = match (greater, less) {
        (true, _) => Some(Ordering::Greater),
        (_, true) => Some(Ordering::Less),
        _ => None,
    };
    Ok(Options { rule: Rule { condition, only, increments }, counts_changes, first })
}

pub(super) fn zadd(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    add(call, reply, false)
}

pub(super) fn zincrby(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    add(call, reply, true)
}

fn add(call: &mut Call<'_>, reply: &mut Reply<'_>, increments: bool) -> Outcome {
    let options = options(call.args, increments)?;
    let mut pairs: SmallVec<[zset::Pair<'_>; 8]> = SmallVec::new();
    for index in (options.first..call.args.len()).step_by(2) {
        let score = parse_f64(call.args.at(index)).ok_or(Error::NotFloat)?;
        pairs.push((score, call.args.at(index + 1)));
    }
    let key = call.key(1);
    let stored = zset::load(&mut call.txn, &key)?;
    let done = zset::add(&mut call.txn, &key, stored.as_ref(), options.rule, pairs.iter().copied())?;
    if done.added + done.updated > 0 {
        call.txn.note(Events::ZSET, if options.rule.increments { "zincr" } else { "zadd" }, &key);
    }
    match (options.rule.increments, done.score) {
        (true, Some(score)) => reply.double(score),
        (true, None) => reply.null(),
        _ if options.counts_changes => reply.integer((done.added + done.updated) as i64),
        _ => reply.integer(done.added as i64),
    }
    Ok(())
}

pub(super) fn zrem(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let removed = match zset::load(&mut call.txn, &key)? {
        Some(stored) => zset::remove(&mut call.txn, &key, &stored, call.args.skip(2).iter())?,
        None => 0,
    };
    if removed > 0 {
        call.txn.note_removal(Events::ZSET, "zrem", &key);
    }
    reply.integer(removed as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn options_end_at_the_first_word_that_is_none() {
        let read = |line: &str| {
            let args = OwnedArgs::from_slices(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            options(args.args(), false).ok()
        };
        let found = read("zadd k XX gt CH 1 nx").unwrap();
        let rule = Rule { condition: Condition::Old, only: Some(Ordering::Greater), increments: false };
        assert_eq!(found, Options { rule, counts_changes: true, first: 5 });
        for wrong in
            ["zadd k nx 1", "zadd k nx gt 1 a", "zadd k gt lt 1 a", "zadd k incr 1 a 2 b", "zadd k ch"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
