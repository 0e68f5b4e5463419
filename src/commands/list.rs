//! Lists: pushing, popping, looking, and waiting for something to pop. How lists are kept is in `types::list`.

use crate::base::longdouble::LongDouble;
use crate::base::number::parse_i64;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{Blocking, DenyOom, Fast, ReadOnly, Write};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::encoding::head::DataType;
use crate::keyspace::{Error, Outcome, Stop, TimeoutReply, Wait, fail};
use crate::resp::Reply;
use crate::types::list::{self, End};
use std::ops::Range;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
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
    Command::new("lindex", lindex)
        .arity(3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N), N the distance from the nearer end")
        .summary("Reads the element at a position.")
        .syntax("key@0 index:int"),
    Command::new("llen", llen)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1)])
        .group(Group::List)
        .since("1.0.0")
        .summary("Counts the elements of a list.")
        .syntax("key@0"),
    Command::new("lpop", lpop)
        .arity(-2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().delete()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Takes elements from a list's front.")
        .syntax("key@0 [count:int^6.2.0]"),
    Command::new("lpush", lpush)
        .arity(-3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N), N the elements")
        .summary("Puts elements at a list's front; the list may be missing.")
        .syntax("key@0 element..."),
    Command::new("lpushx", lpushx)
        .arity(-3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::List)
        .since("2.2.0")
        .complexity("O(N), N the elements")
        .summary("Puts elements at the front of a list that exists.")
        .syntax("key@0 element..."),
    Command::new("lrange", lrange)
        .arity(4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(S+N), S the distance of the first, N the elements")
        .summary("Reads the elements between two positions.")
        .syntax("key@0 start:int stop:int"),
    Command::new("rpop", rpop)
        .arity(-2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().delete()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Takes elements from a list's end.")
        .syntax("key@0 [count:int^6.2.0]"),
    Command::new("rpush", rpush)
        .arity(-3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::List)
        .since("1.0.0")
        .complexity("O(N), N the elements")
        .summary("Puts elements at a list's end; the list may be missing.")
        .syntax("key@0 element..."),
    Command::new("rpushx", rpushx)
        .arity(-3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::List)
        .since("2.2.0")
        .complexity("O(N), N the elements")
        .summary("Puts elements at the end of a list that exists.")
        .syntax("key@0 element..."),
]);

fn lpush(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(call, reply, End::Front, true)
}

fn rpush(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(call, reply, End::Back, true)
}

fn lpushx(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(call, reply, End::Front, false)
}

fn rpushx(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(call, reply, End::Back, false)
}

fn push(call: &mut Call<'_>, reply: &mut Reply<'_>, end: End, creates: bool) -> Outcome {
    let key = call.key(1);
    let stored = list::load(&mut call.txn, &key)?;
    let len = if stored.is_some() || creates {
        list::push(&mut call.txn, &key, stored.as_ref(), end, call.args.skip(2).iter())?
    } else {
        0
    };
    reply.integer(len as i64);
    Ok(())
}

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
    let count = match call.args.get(2) {
        None => None,
        Some(text) => match parse_i64(text).and_then(|count| u64::try_from(count).ok()) {
            Some(count) => Some(count),
            None => return fail("ERR value is out of range, must be positive"),
        },
    };
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
    list::pop(&mut call.txn, &key, &stored, end, count.unwrap_or(1), |element| reply.bulk(element))
}

fn llen(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = list::load(&mut call.txn, &key)?;
    reply.integer(stored.as_ref().map_or(Ok(0), list::len)? as i64);
    Ok(())
}

fn lrange(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let start = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    let stop = parse_i64(call.args.at(3)).ok_or(Error::NotInteger)?;
    let key = call.key(1);
    let Some(stored) = list::load(&mut call.txn, &key)? else {
        reply.array(0);
        return Ok(());
    };
    let range = element_range(start, stop, list::len(&stored)?);
    reply.array((range.end - range.start) as usize);
    list::walk(&mut call.txn, &stored, range, End::Front, |element| reply.bulk(element))
}

/// The elements from `start` to `stop`, both included and counted from the end when negative, of a list of `len` elements.
fn element_range(start: i64, stop: i64, len: u64) -> Range<u64> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_front = |index: i64| if index < 0 { len + index } else { index };
    let (start, stop) = (from_front(start).max(0), from_front(stop).min(len - 1));
    if start > stop { 0..0 } else { start as u64..stop as u64 + 1 }
}

fn lindex(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let Some(stored) = list::load(&mut call.txn, &key)? else {
        reply.null();
        return Ok(());
    };
    let index = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    let len = list::len(&stored)?;
    let nth = if index < 0 { len.checked_sub(index.unsigned_abs()) } else { Some(index.unsigned_abs()) };
    match nth.filter(|&nth| nth < len) {
        Some(nth) => {
            list::walk(&mut call.txn, &stored, nth..nth + 1, End::Front, |element| reply.bulk(element))
        }
        None => {
            reply.null();
            Ok(())
        }
    }
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
            return list::pop(&mut call.txn, &key, &stored, end, 1, |element| reply.bulk(element));
        }
    }
    if call.in_exec {
        reply.null_array();
        return Ok(());
    }
    let (wants, on_timeout) = (DataType::List, TimeoutReply::NullArray);
    Err(Stop::Wait(Wait { wants, deadline_ms, on_timeout, keys: keys.collect() }))
}

/// When a wait of so many seconds ends, unix milliseconds; none for never.
fn wait_deadline_ms(timeout: &[u8], now_ms: u64) -> Outcome<Option<u64>> {
    let Some(seconds) = LongDouble::parse(timeout) else {
        return fail("ERR timeout is not a float or out of range");
    };
    let wait_ms = (seconds.to_f64() * 1000.0).ceil();
    if wait_ms >= i64::MAX as f64 {
        return fail("ERR timeout is out of range");
    }
    if wait_ms < 0.0 {
        return fail("ERR timeout is negative");
    }
    if wait_ms == 0.0 {
        return Ok(None);
    }
    match (wait_ms as u64).checked_add(now_ms).filter(|&at_ms| i64::try_from(at_ms).is_ok()) {
        Some(at_ms) => Ok(Some(at_ms)),
        None => fail("ERR timeout is out of range"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_from_either_end_and_stay_within_the_list() {
        let check = |start, stop, expected: Range<u64>| {
            assert_eq!(element_range(start, stop, 8), expected, "{start} {stop}");
        };
        check(0, 0, 0..1);
        check(-2, -1, 6..8);
        check(-100, 1, 0..2);
        check(5, 100, 5..8);
        check(100, 200, 0..0);
        check(3, 1, 0..0);
        check(0, -100, 0..0);
        check(i64::MIN, i64::MAX, 0..8);
        check(i64::MAX, -1, 0..0);
    }

    #[test]
    fn a_wait_ends_after_its_seconds_rounded_up_to_milliseconds() {
        let at = |timeout: &str| {
            wait_deadline_ms(timeout.as_bytes(), 1000).map_err(|stop| match stop {
                Stop::Error(error) => error.to_string(),
                other => format!("{other:?}"),
            })
        };
        assert_eq!(at("0"), Ok(None));
        assert_eq!(at("0.0001"), Ok(Some(1001)));
        assert_eq!(at("2.5"), Ok(Some(3500)));
        assert_eq!(at("-0.5"), Err("ERR timeout is negative".into()));
        assert_eq!(at("-inf"), Err("ERR timeout is negative".into()));
        assert_eq!(at("1e100"), Err("ERR timeout is out of range".into()));
        assert_eq!(at("9223372036854775.807"), Err("ERR timeout is out of range".into()));
        assert_eq!(at("nan"), Err("ERR timeout is not a float or out of range".into()));
    }
}
