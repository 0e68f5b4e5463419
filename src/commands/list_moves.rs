//! Lists: taking elements and moving them from list to list, at once or as soon as there are some.
//!
//! A command that finds nothing to take ends with `Stop::Wait`; when one of its keys is fed it runs again from the beginning,
//! as if it had just come. So it may serve others: what BLMOVE pushes feeds those who wait for its destination.

use super::not_negative;
use super::wait::{wait_deadline_ms, wait_or_null_array};
use crate::base::number::parse_i64;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{Blocking, DenyOom, Fast, Write};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::encoding::head::DataType;
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Key, Outcome, Stop, Stored, TimeoutReply, Wait, fail};
use crate::resp::{Args, Reply};
use crate::types::list::{self, End};
use std::ops::Range;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("blmove", blmove)
        .arity(6)
        .flags(&[Write, DenyOom, Blocking])
        .keys(&[KeySpec::rw(1).access().delete(), KeySpec::rw(2).insert()])
        .group(Group::List)
        .since("6.2.0")
        .summary("Moves an element from one list's end to another's, waiting for one to come.")
        .syntax("source@0 destination@1 wherefrom<LEFT | RIGHT> whereto<LEFT | RIGHT> timeout:double"),
    Command::new("blmpop", blmpop)
        .arity(-5)
        .flags(&[Write, Blocking])
        .keys(&[KeySpec::rw(2).counted().access().delete()])
        .group(Group::List)
        .since("7.0.0")
        .complexity("O(N+M)")
        .summary("Takes elements from the first of several lists that has any, waiting for them.")
        .syntax("timeout:double numkeys:int key@0... where<LEFT | RIGHT> [COUNT count:int]"),
    Command::new("blpop", blpop)
        .arity(-3)
        .flags(&[Write, Blocking])
        .keys(&[KeySpec::rw(1).to(-2).access().delete()])
        .group(Group::List)
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Takes the first element of the first list that has one, waiting for it.")
        .syntax("key@0... timeout:double"),
    Command::new("brpop", brpop)
        .arity(-3)
        .flags(&[Write, Blocking])
        .keys(&[KeySpec::rw(1).to(-2).access().delete()])
        .group(Group::List)
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Takes the last element of the first list that has one, waiting for it.")
        .syntax("key@0... timeout:double"),
    Command::new("brpoplpush", brpoplpush)
        .arity(4)
        .flags(&[Write, DenyOom, Blocking])
        .keys(&[KeySpec::rw(1).access().delete(), KeySpec::rw(2).insert()])
        .group(Group::List)
        .since("2.2.0")
        .summary("Moves the last element of one list to the front of another, waiting for it.")
        .syntax("source@0 destination@1 timeout:double")
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    Command::new("lmove", lmove)
        .arity(5)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::rw(1).access().delete(), KeySpec::rw(2).insert()])
        .group(Group::List)
        .since("6.2.0")
        .summary("Moves an element from one list's end to another's.")
        .syntax("source@0 destination@1 wherefrom<LEFT | RIGHT> whereto<LEFT | RIGHT>"),
    Command::new("lmpop", lmpop)
        .arity(-4)
        .flags(&[Write])
        .keys(&[KeySpec::rw(1).counted().access().delete()])
        .group(Group::List)
        .since("7.0.0")
        .complexity("O(N+M)")
        .summary("Takes elements from the first of several lists that has any.")
        .syntax("numkeys:int key@0... where<LEFT | RIGHT> [COUNT count:int]"),
    Command::new("lpop", lpop)
        .arity(-2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().delete()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Takes elements from a list's front.")
        .syntax("key@0 [count:int^6.2.0]"),
    Command::new("rpop", rpop)
        .arity(-2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().delete()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Takes elements from a list's end.")
        .syntax("key@0 [count:int^6.2.0]"),
    Command::new("rpoplpush", rpoplpush)
        .arity(3)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::rw(1).access().delete(), KeySpec::rw(2).insert()])
        .group(Group::List)
        .since("1.2.0")
        .summary("Moves the last element of one list to the front of another.")
        .syntax("source@0 destination@1")
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
]);

fn lpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(call, reply, End::Front, "lpop")
}

fn rpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(call, reply, End::Back, "rpop")
}

fn pop(call: &mut Call<'_>, reply: &mut Reply<'_>, end: End, command: &'static str) -> Outcome {
    if call.args.len() > 3 {
        return Err(Error::Arity(command.into()).into());
    }
    let count = call.args.get(2).map(not_negative).transpose()?;
    let key = call.key(1);
    let Some(stored) = list::load(&mut call.txn, &key)? else {
        match count {
            Some(_) => reply.null_array(),
            None => reply.null(),
        }
        return Ok(());
    };
    if let Some(count) = count {
        reply.array(count.min(list::len(&stored)?) as usize);
    }
    take_elements(call, reply, (&key, &stored), end, count.unwrap_or(1))
}

/// Takes so many elements and writes them.
fn take_elements(
    call: &mut Call<'_>,
    reply: &mut Reply<'_>,
    (key, stored): (&Key, &Stored),
    end: End,
    count: u64,
) -> Outcome {
    list::pop(&mut call.txn, key, stored, end, count, |element| reply.bulk(element))?;
    if count > 0 {
        call.txn.note_removal(Events::LIST, popped(end), key);
    }
    Ok(())
}

fn popped(end: End) -> &'static str {
    if end == End::Front { "lpop" } else { "rpop" }
}

fn blpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    blocking_pop(call, reply, End::Front)
}

fn brpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    blocking_pop(call, reply, End::Back)
}

fn blocking_pop(call: &mut Call<'_>, reply: &mut Reply<'_>, end: End) -> Outcome {
    let keys = 1..call.args.len() - 1;
    let deadline_ms = wait_deadline_ms(call.args.at(keys.end), call.txn.now_ms())?;
    call.txn.expect_work(keys.len() as u64)?;
    for index in keys.clone() {
        let key = call.key(index);
        if let Some(stored) = list::load(&mut call.txn, &key)? {
            reply.array(2);
            reply.bulk(call.args.at(index));
            return take_elements(call, reply, (&key, &stored), end, 1);
        }
    }
    wait_or_null_array(call, reply, DataType::List, keys, deadline_ms)
}

/// What LMPOP takes, and from which of its arguments' lists.
#[derive(Debug, PartialEq, Eq)]
struct Take {
    keys: Range<usize>,
    end: End,
    count_max: u64,
}

/// Reads `numkeys key ... LEFT|RIGHT [COUNT count]` from an argument on.
fn parse_take(args: Args<'_>, start: usize) -> Outcome<Take> {
    let positive =
        |word: &[u8]| parse_i64(word).and_then(|number| u64::try_from(number).ok()).filter(|&n| n > 0);
    let Some(key_count) = positive(args.at(start)) else {
        return fail("ERR numkeys should be greater than 0");
    };
    if key_count >= (args.len() - start - 1) as u64 {
        return Err(Error::Syntax.into());
    }
    let keys = start + 1..start + 1 + key_count as usize;
    let end = parse_end(args.at(keys.end))?;
    let rest = args.skip(keys.end + 1);
    let count_max = match (rest.len(), rest.get(0)) {
        (0, _) => 1,
        (2.., Some(option)) if option.eq_ignore_ascii_case(b"count") => match positive(rest.at(1)) {
            Some(count) => count,
            None => return fail("ERR count should be greater than 0"),
        },
        _ => return Err(Error::Syntax.into()),
    };
    if rest.len() > 2 {
        return Err(Error::Syntax.into());
    }
    Ok(Take { keys, end, count_max })
}

/// Takes elements from the first list that has any. False when there is none.
fn take(call: &mut Call<'_>, reply: &mut Reply<'_>, take: &Take) -> Outcome<bool> {
    call.txn.expect_work(take.keys.len() as u64)?;
    for index in take.keys.clone() {
        let key = call.key(index);
        if let Some(stored) = list::load(&mut call.txn, &key)? {
            reply.array(2);
            reply.bulk(call.args.at(index));
            reply.array(take.count_max.min(list::len(&stored)?) as usize);
            take_elements(call, reply, (&key, &stored), take.end, take.count_max)?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn lmpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let wanted = parse_take(call.args, 1)?;
    if !take(call, reply, &wanted)? {
        reply.null_array();
    }
    Ok(())
}

fn blmpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let wanted = parse_take(call.args, 2)?;
    let deadline_ms = wait_deadline_ms(call.args.at(1), call.txn.now_ms())?;
    if take(call, reply, &wanted)? {
        return Ok(());
    }
    wait_or_null_array(call, reply, DataType::List, wanted.keys, deadline_ms)
}

fn parse_end(word: &[u8]) -> Outcome<End> {
    match word {
        word if word.eq_ignore_ascii_case(b"left") => Ok(End::Front),
        word if word.eq_ignore_ascii_case(b"right") => Ok(End::Back),
        _ => Err(Error::Syntax.into()),
    }
}

fn lmove(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (from, to) = (parse_end(call.args.at(3))?, parse_end(call.args.at(4))?);
    move_or_null(call, reply, from, to)
}

fn rpoplpush(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    move_or_null(call, reply, End::Back, End::Front)
}

fn move_or_null(call: &mut Call<'_>, reply: &mut Reply<'_>, from: End, to: End) -> Outcome {
    if !move_element(call, reply, from, to)? {
        reply.null();
    }
    Ok(())
}

fn blmove(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (from, to) = (parse_end(call.args.at(3))?, parse_end(call.args.at(4))?);
    blocking_move(call, reply, from, to, 5)
}

fn brpoplpush(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    blocking_move(call, reply, End::Back, End::Front, 3)
}

fn blocking_move(
    call: &mut Call<'_>,
    reply: &mut Reply<'_>,
    from: End,
    to: End,
    timeout_index: usize,
) -> Outcome {
    let deadline_ms = wait_deadline_ms(call.args.at(timeout_index), call.txn.now_ms())?;
    if move_element(call, reply, from, to)? {
        return Ok(());
    }
    if call.in_exec {
        reply.null();
        return Ok(());
    }
    // As Redis has it: a null where it may not wait, a null array when its time is up.
    let (wants, on_timeout) = (DataType::List, TimeoutReply::NullArray);
    Err(Stop::Wait(Wait::to_take(wants, deadline_ms, on_timeout, [1].into_iter().collect())))
}

/// Moves an element from the list of the first argument to that of the second. False when there is none to move. The destination's
/// type matters only if there is.
fn move_element(call: &mut Call<'_>, reply: &mut Reply<'_>, from: End, to: End) -> Outcome<bool> {
    let (source, destination) = (call.key(1), call.key(2));
    let Some(stored) = list::load(&mut call.txn, &source)? else { return Ok(false) };
    let element = list::relocate(&mut call.txn, (&source, &stored, from), (&destination, to))?;
    call.txn.note(Events::LIST, if to == End::Front { "lpush" } else { "rpush" }, &destination);
    call.txn.note_removal(Events::LIST, popped(from), &source);
    reply.bulk(&element);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn parsed(line: &str, start: usize) -> Result<Take, String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse_take(OwnedArgs::from_slices(&words).args(), start).map_err(|stop| match stop {
            Stop::Error(error) => error.to_string(),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn what_to_take_is_read_from_its_words() {
        let take = |keys, end, count_max| Ok(Take { keys, end, count_max });
        assert_eq!(parsed("LMPOP 1 a LEFT", 1), take(2..3, End::Front, 1));
        assert_eq!(parsed("BLMPOP 0 2 a b right count 7", 2), take(3..5, End::Back, 7));
        let syntax = || Err("ERR syntax error".to_string());
        for line in ["LMPOP 2 a LEFT", "LMPOP 1 a b", "LMPOP 1 a LEFT x", "LMPOP 1 a LEFT COUNT 1 COUNT 1"] {
            assert_eq!(parsed(line, 1), syntax(), "{line}");
        }
        assert_eq!(parsed("LMPOP 9223372036854775807 a LEFT", 1), syntax());
        assert_eq!(parsed("LMPOP 0 a LEFT", 1), Err("ERR numkeys should be greater than 0".into()));
        assert_eq!(parsed("LMPOP 1 a LEFT COUNT 0", 1), Err("ERR count should be greater than 0".into()));
    }
}
