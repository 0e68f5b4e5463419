//! Sets: SADD and the family. What they do is in `types::set`.

use super::not_negative;
use crate::base::glob::glob_match;
use crate::base::number::{IntText, parse_i64, parse_u64_loose};
use crate::commands::page::PageOptions;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{DenyOom, Fast, ReadOnly, Write};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::encoding::head::DataType;
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Outcome, Stored, fail};
use crate::resp::Reply;
use crate::types::pick::Picks;
use crate::types::set::{self, Operation};

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("sadd", sadd)
        .arity(-3)
        .element(2)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::Set)
        .since("1.0.0")
        .complexity("O(N), N the members")
        .summary("Adds members to a set, which may be missing.")
        .syntax("key@0 member..."),
    Command::new("scard", scard)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1)])
        .group(Group::Set)
        .since("1.0.0")
        .summary("Counts the members of a set.")
        .syntax("key@0"),
    Command::new("sdiff", sdiff)
        .arity(-2)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).to(-1).access()])
        .group(Group::Set)
        .tips(&["nondeterministic_output_order"])
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Lists the members that only the first set has.")
        .syntax("key@0..."),
    Command::new("sdiffstore", sdiffstore)
        .arity(-3)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ow(1).update(), KeySpec::ro(2).to(-1).access()])
        .group(Group::Set)
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Stores the members that only the first set has.")
        .syntax("destination@0 key@1..."),
    Command::new("sinter", sinter)
        .arity(-2)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).to(-1).access()])
        .group(Group::Set)
        .tips(&["nondeterministic_output_order"])
        .since("1.0.0")
        .complexity("O(N*M)")
        .summary("Lists the members that all sets have.")
        .syntax("key@0..."),
    Command::new("sintercard", sintercard)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).counted().access()])
        .group(Group::Set)
        .since("7.0.0")
        .complexity("O(N*M)")
        .summary("Counts the members that all sets have.")
        .syntax("numkeys:int key@0... [LIMIT limit:int]"),
    Command::new("sinterstore", sinterstore)
        .arity(-3)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ow(1).update(), KeySpec::ro(2).to(-1).access()])
        .group(Group::Set)
        .since("1.0.0")
        .complexity("O(N*M)")
        .summary("Stores the members that all sets have.")
        .syntax("destination@0 key@1..."),
    Command::new("sismember", sismember)
        .arity(3)
        .element(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1)])
        .group(Group::Set)
        .since("1.0.0")
        .summary("Tells whether a set has a member.")
        .syntax("key@0 member"),
    Command::new("smembers", smembers)
        .arity(2)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Set)
        .tips(&["nondeterministic_output_order"])
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Lists the members of a set.")
        .syntax("key@0"),
    Command::new("smismember", smismember)
        .arity(-3)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Set)
        .since("6.2.0")
        .complexity("O(N)")
        .summary("Tells which of several members a set has.")
        .syntax("key@0 member..."),
    Command::new("smove", smove)
        .arity(4)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().delete(), KeySpec::rw(2).insert()])
        .group(Group::Set)
        .since("1.0.0")
        .summary("Moves a member to another set.")
        .syntax("source@0 destination@1 member"),
    Command::new("spop", spop)
        .arity(-2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().delete()])
        .group(Group::Set)
        .tips(&["nondeterministic_output"])
        .since("1.0.0")
        .complexity("O(N), N the count")
        .summary("Takes members by chance.")
        .syntax("key@0 [count:int^3.2.0]"),
    Command::new("srandmember", srandmember)
        .arity(-2)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Set)
        .tips(&["nondeterministic_output"])
        .since("1.0.0")
        .complexity("O(N), N the count")
        .summary("Picks members by chance.")
        .syntax("key@0 [count:int^2.6.0]"),
    Command::new("srem", srem)
        .arity(-3)
        .element(2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::Set)
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Removes members of a set.")
        .syntax("key@0 member..."),
    Command::new("sscan", sscan)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Set)
        .tips(&["nondeterministic_output"])
        .since("2.8.0")
        .complexity("O(1) a call, O(N) to the end")
        .summary("Goes through the members of a set step by step.")
        .syntax("key@0 cursor:int [MATCH pattern:pattern] [COUNT count:int]"),
    Command::new("sunion", sunion)
        .arity(-2)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).to(-1).access()])
        .group(Group::Set)
        .tips(&["nondeterministic_output_order"])
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Lists the members that any of the sets has.")
        .syntax("key@0..."),
    Command::new("sunionstore", sunionstore)
        .arity(-3)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ow(1).update(), KeySpec::ro(2).to(-1).access()])
        .group(Group::Set)
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Stores the members that any of the sets has.")
        .syntax("destination@0 key@1..."),
]);

/// Members a page of SSCAN has when COUNT is not given.
const PAGE_MEMBERS: u64 = 10;
/// A reply of random members longer than this is refused.
const RANDOM_REPLY_BYTES_MAX: usize = 512 << 20;

fn sadd(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = set::load(&mut call.txn, &key)?;
    let added = set::add(&mut call.txn, &key, stored.as_ref(), call.args.skip(2).iter())?;
    if added > 0 {
        call.txn.note(Events::SET, "sadd", &key);
    }
    reply.integer(added as i64);
    Ok(())
}

fn srem(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let removed = match set::load(&mut call.txn, &key)? {
        Some(stored) => set::remove(&mut call.txn, &key, &stored, call.args.skip(2).iter())?,
        None => 0,
    };
    if removed > 0 {
        call.txn.note_removal(Events::SET, "srem", &key);
    }
    reply.integer(removed as i64);
    Ok(())
}

fn scard(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let len = set::load(&mut call.txn, &key)?.map_or(Ok(0), |stored| set::len(&stored))?;
    reply.integer(len as i64);
    Ok(())
}

fn sismember(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let found = match set::load(&mut call.txn, &key)? {
        Some(stored) => set::contains(&mut call.txn, &stored, call.args.at(2))?,
        None => false,
    };
    reply.integer(found.into());
    Ok(())
}

fn smismember(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let members = call.args.skip(2);
    call.txn.expect_work(members.len() as u64)?;
    let stored = set::load(&mut call.txn, &key)?;
    reply.array(members.len());
    for member in members.iter() {
        let found = match &stored {
            Some(stored) => set::contains(&mut call.txn, stored, member)?,
            None => false,
        };
        reply.integer(found.into());
    }
    Ok(())
}

fn smembers(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let Some(stored) = set::load(&mut call.txn, &key)? else {
        reply.set(0);
        return Ok(());
    };
    reply.set(set::len(&stored)? as usize);
    set::for_each(&mut call.txn, &stored, |member| reply.bulk(member))
}

fn smove(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (from, to, member) = (call.key(1), call.key(2), call.args.at(3));
    let Some(source) = call.txn.load(&from)? else {
        reply.integer(0);
        return Ok(());
    };
    if source.data_type() != DataType::Set {
        return Err(Error::WrongType.into());
    }
    let target = set::load(&mut call.txn, &to)?;
    let found = set::contains(&mut call.txn, &source, member)?;
    if found && from.row() != to.row() {
        set::remove(&mut call.txn, &from, &source, [member].into_iter())?;
        call.txn.note_removal(Events::SET, "srem", &from);
        if set::add(&mut call.txn, &to, target.as_ref(), [member].into_iter())? > 0 {
            call.txn.note(Events::SET, "sadd", &to);
        }
    }
    reply.integer(found.into());
    Ok(())
}

fn spop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let wanted = match call.args.len() {
        2 => None,
        3 => Some(not_negative(call.args.at(2))?),
        _ => return Err(Error::Syntax.into()),
    };
    let Some(stored) = set::load(&mut call.txn, &key)? else {
        match wanted {
            None => reply.null(),
            Some(_) => reply.set(0),
        }
        return Ok(());
    };
    let mut popped: Vec<Vec<u8>> = Vec::new();
    if wanted.is_some_and(|wanted| wanted >= set::len(&stored).unwrap_or(0)) {
        set::for_each(&mut call.txn, &stored, |member| popped.push(member.to_vec()))?;
        call.txn.delete(&key)?;
    } else if let Some(count) = wanted
        && set::take_many(&mut call.txn, &key, &stored, count, |member| popped.push(member.to_vec()))?
    {
        // Written anew without them.
    } else if wanted != Some(0) {
        set::pick(&mut call.txn, &stored, Picks::Distinct(wanted.unwrap_or(1)), |member| {
            popped.push(member.to_vec());
            Ok(())
        })?;
        set::remove(&mut call.txn, &key, &stored, popped.iter().map(Vec::as_slice))?;
    }
    if !popped.is_empty() {
        call.txn.note_removal(Events::SET, "spop", &key);
    }
    match (wanted, popped.first()) {
        (None, Some(member)) => reply.bulk(member),
        _ => {
            reply.set(popped.len());
            popped.iter().for_each(|member| reply.bulk(member));
        }
    }
    Ok(())
}

fn srandmember(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let picks = match call.args.len() {
        2 => None,
        3 => Some(random_count(call.args.at(2))?),
        _ => return Err(Error::Syntax.into()),
    };
    let Some(stored) = set::load(&mut call.txn, &key)? else {
        match picks {
            None => reply.null(),
            Some(_) => reply.array(0),
        }
        return Ok(());
    };
    let Some(picks) = picks else {
        return set::pick(&mut call.txn, &stored, Picks::Any(1), |member| {
            reply.bulk(member);
            Ok(())
        });
    };
    let (start, mark, mut count) = (reply.len(), reply.deferred_array(), 0);
    match picks {
        Picks::Distinct(wanted) if wanted >= set::len(&stored)? => {
            set::for_each(&mut call.txn, &stored, |member| {
                reply.bulk(member);
                count += 1;
            })?;
        }
        _ => set::pick(&mut call.txn, &stored, picks, |member| {
            reply.bulk(member);
            count += 1;
            if reply.len() - start > RANDOM_REPLY_BYTES_MAX {
                return fail("ERR value is out of range, the reply would be longer than 512 MB");
            }
            Ok(())
        })?,
    }
    reply.fill_array(mark, count);
    Ok(())
}

fn random_count(word: &[u8]) -> Outcome<Picks> {
    let count = parse_i64(word).ok_or(Error::NotInteger)?;
    if count == i64::MIN {
        return fail(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
    }
    Ok(if count < 0 { Picks::Any(count.unsigned_abs()) } else { Picks::Distinct(count as u64) })
}

/// Loads the sets of some arguments; every one of them must be a set or missing.
fn load_sources(call: &mut Call<'_>, from: usize, count: usize) -> Outcome<Vec<Option<Stored>>> {
    call.txn.expect_work(count as u64)?;
    let mut sources = Vec::with_capacity(count);
    for index in from..from + count {
        let key = call.key(index);
        sources.push(set::load(&mut call.txn, &key)?);
    }
    Ok(sources)
}

fn show(call: &mut Call<'_>, reply: &mut Reply<'_>, operation: Operation) -> Outcome {
    let sources = load_sources(call, 1, call.args.len() - 1)?;
    let (members, _) = set::combine(&mut call.txn, operation, &sources)?;
    reply.set(members.len());
    members.iter().for_each(|member| reply.bulk(member));
    Ok(())
}

fn keep(call: &mut Call<'_>, reply: &mut Reply<'_>, operation: Operation) -> Outcome {
    call.txn.set_counting(true);
    let sources = load_sources(call, 2, call.args.len() - 2)?;
    call.txn.set_counting(false);
    let key = call.key(1);
    let was_there = call.txn.load(&key)?.is_some();
    let before = call.txn.overwritten(&key)?;
    let count = set::combine_into(&mut call.txn, &key, operation, &sources)?;
    if count > 0 {
        call.txn.note_overwritten(&key, before, DataType::Set);
        call.txn.note(Events::SET, stored_event(operation), &key);
    } else if was_there {
        call.txn.note(Events::GENERIC, "del", &key);
    }
    reply.integer(count as i64);
    Ok(())
}

fn stored_event(operation: Operation) -> &'static str {
    match operation {
        Operation::Intersection => "sinterstore",
        Operation::Union => "sunionstore",
        Operation::Difference => "sdiffstore",
    }
}

fn sinter(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    show(call, reply, Operation::Intersection)
}

fn sunion(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    show(call, reply, Operation::Union)
}

fn sdiff(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    show(call, reply, Operation::Difference)
}

fn sinterstore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    keep(call, reply, Operation::Intersection)
}

fn sunionstore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    keep(call, reply, Operation::Union)
}

fn sdiffstore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    keep(call, reply, Operation::Difference)
}

fn sintercard(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let count = parse_i64(call.args.at(1))
        .and_then(|count| usize::try_from(count).ok())
        .filter(|&count| count > 0)
        .ok_or(Error::text("ERR numkeys should be greater than 0"))?;
    if count > call.args.len() - 2 {
        return fail("ERR Number of keys can't be greater than number of args");
    }
    let mut members_max = u64::MAX;
    let mut words = call.args.skip(2 + count).iter();
    while let Some(word) = words.next() {
        let (true, Some(limit)) = (word.eq_ignore_ascii_case(b"limit"), words.next()) else {
            return Err(Error::Syntax.into());
        };
        let negative = Error::text("ERR LIMIT can't be negative");
        let limit = parse_i64(limit).and_then(|limit| u64::try_from(limit).ok()).ok_or(negative)?;
        members_max = if limit == 0 { u64::MAX } else { limit };
    }
    let sources = load_sources(call, 2, count)?;
    let common = set::count_common(&mut call.txn, &sources, members_max)?;
    reply.integer(common as i64);
    Ok(())
}

fn sscan(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some(cursor) = parse_u64_loose(call.args.at(2)) else { return fail("ERR invalid cursor") };
    let key = call.key(1);
    let Some(stored) = set::load(&mut call.txn, &key)? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = PageOptions::read(call.args.skip(3), PAGE_MEMBERS)?;
    // The cursor stands before the members but is known after them.
    let mut written = call.txn.take_buffer();
    let mut members = Reply::new(&mut written, reply.proto());
    let mut count = 0;
    let next = set::page(&mut call.txn, &stored, cursor, options.rows, |member| {
        if options.pattern.is_none_or(|pattern| glob_match(pattern, member, false)) {
            members.bulk(member);
            count += 1;
        }
    })?;
    reply.array(2);
    reply.bulk(IntText::unsigned(next).as_bytes());
    reply.array(count);
    reply.raw(&written);
    call.txn.return_buffer(written);
    Ok(())
}
