//! Unions, intersections and differences, shown or stored.

use super::MemberList;
use crate::base::number::{parse_f64, parse_i64};
use crate::dispatch::Call;
use crate::encoding::head::DataType;
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Key, Outcome, fail};
use crate::resp::Reply;
use crate::types::zset::{self, Aggregate, Operation, OwnedPair, Source};

/// What a command does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Show,
    Store,
    Count,
}

/// What the options after the keys say.
struct Options {
    aggregate: Aggregate,
    with_scores: bool,
    /// 0 for no limit.
    limit: u64,
}

/// Loads the keys after the number of keys at argument `at`. The types of all keys come before the options.
fn load(call: &mut Call<'_>, at: usize, command: &'static str) -> Outcome<Vec<Source>> {
    let keys = parse_i64(call.args.at(at)).ok_or(Error::NotInteger)?;
    if keys < 1 {
        let text = format!("ERR at least 1 input key is needed for '{command}' command");
        return Err(Error::Text(text.into()).into());
    }
    let keys = usize::try_from(keys).unwrap_or(usize::MAX);
    if keys > call.args.len() - (at + 1) {
        return Err(Error::Syntax.into());
    }
    call.txn.expect_work(keys as u64)?;
    let mut sources = Vec::with_capacity(keys);
    for index in at + 1..at + 1 + keys {
        let key = call.key(index);
        sources.push(zset::load_source(&mut call.txn, &key)?);
    }
    Ok(sources)
}

/// Reads the options from argument `at` on; weights go to the sources.
fn options(
    call: &Call<'_>,
    mut at: usize,
    operation: Operation,
    goal: Goal,
    sources: &mut [Source],
) -> Outcome<Options> {
    let mut options = Options { aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
    let weighs = operation != Operation::Difference && goal != Goal::Count;
    while let Some(word) = call.args.get(at) {
        let words_left = call.args.len() - at;
        match word.to_ascii_lowercase().as_slice() {
            b"weights" if weighs && words_left > sources.len() => {
                for source in sources.iter_mut() {
                    at += 1;
                    match parse_f64(call.args.at(at)) {
                        Some(weight) => source.weight = weight,
                        None => return fail("ERR weight value is not a float"),
                    }
                }
            }
            b"aggregate" if weighs && words_left >= 2 => {
                at += 1;
                options.aggregate = match call.args.at(at).to_ascii_lowercase().as_slice() {
                    b"sum" => Aggregate::Sum,
                    b"min" => Aggregate::Min,
                    b"max" => Aggregate::Max,
                    _ => return Err(Error::Syntax.into()),
                };
            }
            b"withscores" if goal == Goal::Show => options.with_scores = true,
            b"limit" if goal == Goal::Count && words_left >= 2 => {
                at += 1;
                match parse_i64(call.args.at(at)).and_then(|limit| u64::try_from(limit).ok()) {
                    Some(limit) => options.limit = limit,
                    None => return fail("ERR LIMIT can't be negative"),
                }
            }
            _ => return Err(Error::Syntax.into()),
        }
        at += 1;
    }
    Ok(options)
}

fn show(call: &mut Call<'_>, reply: &mut Reply<'_>, operation: Operation, command: &'static str) -> Outcome {
    let mut sources = load(call, 1, command)?;
    let options = options(call, 2 + sources.len(), operation, Goal::Show, &mut sources)?;
    let members = zset::combine(&mut call.txn, operation, sources, options.aggregate)?;
    let mark = reply.deferred_array();
    let mut list = MemberList::new(reply, options.with_scores);
    members.iter().for_each(|(score, member)| list.push(member, *score));
    let count = list.count;
    reply.fill_array(mark, count);
    Ok(())
}

/// Stores members under a key, and notes what that is.
pub(super) fn replace(
    call: &mut Call<'_>,
    key: &Key,
    members: &[OwnedPair],
    event: &'static str,
) -> Outcome<u64> {
    let was_there = members.is_empty() && call.txn.load(key)?.is_some();
    let before = call.txn.overwritten(key)?;
    let count = zset::replace(&mut call.txn, key, members)?;
    if !members.is_empty() {
        call.txn.note_overwritten(key, before, DataType::Zset);
        call.txn.note(Events::ZSET, event, key);
    } else if was_there {
        call.txn.note(Events::GENERIC, "del", key);
    }
    Ok(count)
}

fn store(call: &mut Call<'_>, reply: &mut Reply<'_>, operation: Operation, command: &'static str) -> Outcome {
    call.txn.set_counting(true);
    let mut sources = load(call, 2, command)?;
    call.txn.set_counting(false);
    let options = options(call, 3 + sources.len(), operation, Goal::Store, &mut sources)?;
    let destination = call.key(1);
    let event = match operation {
        Operation::Union => "zunionstore",
        Operation::Intersection => "zinterstore",
        Operation::Difference => "zdiffstore",
    };
    let was_there = call.txn.load(&destination)?.is_some();
    let before = call.txn.overwritten(&destination)?;
    let count = zset::combine_into(&mut call.txn, &destination, operation, sources, options.aggregate)?;
    if count > 0 {
        call.txn.note_overwritten(&destination, before, DataType::Zset);
        call.txn.note(Events::ZSET, event, &destination);
    } else if was_there {
        call.txn.note(Events::GENERIC, "del", &destination);
    }
    reply.integer(count as i64);
    Ok(())
}

pub(super) fn zunion(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    show(call, reply, Operation::Union, "zunion")
}

pub(super) fn zinter(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    show(call, reply, Operation::Intersection, "zinter")
}

pub(super) fn zdiff(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    show(call, reply, Operation::Difference, "zdiff")
}

pub(super) fn zunionstore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    store(call, reply, Operation::Union, "zunionstore")
}

pub(super) fn zinterstore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    store(call, reply, Operation::Intersection, "zinterstore")
}

pub(super) fn zdiffstore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    store(call, reply, Operation::Difference, "zdiffstore")
}

pub(super) fn zintercard(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut sources = load(call, 1, "zintercard")?;
    let options = options(call, 2 + sources.len(), Operation::Intersection, Goal::Count, &mut sources)?;
    let members_max = if options.limit == 0 { u64::MAX } else { options.limit };
    let common = zset::count_common(&mut call.txn, sources, members_max)?;
    reply.integer(common as i64);
    Ok(())
}
