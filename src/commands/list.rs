//! Lists: pushing, popping, reading a range, and the blocking pops that make queues of them.

use crate::base::number::{parse_f64, parse_i64};
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{Blocking, DenyOom, Fast, ReadOnly, Write};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::encoding::head::DataType;
use crate::keyspace::{Error, Outcome, Stop, TimeoutReply, Wait, fail};
use crate::resp::Reply;
use crate::types::list::{self, End};

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
    push(call, reply, End::Left, false)
}

fn rpush(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(call, reply, End::Right, false)
}

fn lpushx(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(call, reply, End::Left, true)
}

fn rpushx(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(call, reply, End::Right, true)
}

fn push(call: &mut Call<'_>, reply: &mut Reply<'_>, end: End, only_existing: bool) -> Outcome {
    let key = call.key(1);
    let len = list::push(&mut call.txn, &key, end, only_existing, call.args.skip(2).iter())?;
    reply.integer(len as i64);
    Ok(())
}

fn lpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(call, reply, End::Left)
}

fn rpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(call, reply, End::Right)
}

fn pop(call: &mut Call<'_>, reply: &mut Reply<'_>, end: End) -> Outcome {
    let key = call.key(1);
    let Some(count) = call.args.get(2) else {
        if list::pop(&mut call.txn, &key, end, 1, |element| reply.bulk(element))?.is_none() {
            reply.null();
        }
        return Ok(());
    };
    if call.args.len() > 3 {
        let name = if end == End::Left { "lpop" } else { "rpop" };
        return Err(Error::Arity(name.into()).into());
    }
    let Some(count) = parse_i64(count).and_then(|count| u64::try_from(count).ok()) else {
        return fail("ERR value is out of range, must be positive");
    };
    let mark = reply.deferred_array();
    match list::pop(&mut call.txn, &key, end, count, |element| reply.bulk(element))? {
        Some(popped) => reply.fill_array(mark, popped as usize),
        None => {
            reply.truncate(0);
            reply.null_array();
        }
    }
    Ok(())
}

fn llen(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    reply.integer(list::len(&mut call.txn, &key)? as i64);
    Ok(())
}

fn lrange(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let start = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    let stop = parse_i64(call.args.at(3)).ok_or(Error::NotInteger)?;
    let key = call.key(1);
    let reply = std::cell::RefCell::new(reply);
    let begin = |count| reply.borrow_mut().array(count as usize);
    list::range(&mut call.txn, &key, start, stop, begin, |element| reply.borrow_mut().bulk(element))
}

fn blpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    blocking_pop(call, reply, End::Left)
}

fn brpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    blocking_pop(call, reply, End::Right)
}

fn blocking_pop(call: &mut Call<'_>, reply: &mut Reply<'_>, end: End) -> Outcome {
    let last = call.args.len() - 1;
    let deadline_ms = deadline(call.args.at(last), call.txn.now_ms())?;
    for index in 1..last {
        let key = call.key(index);
        if list::len(&mut call.txn, &key)? == 0 {
            continue;
        }
        reply.array(2);
        reply.bulk(call.args.at(index));
        list::pop(&mut call.txn, &key, end, 1, |element| reply.bulk(element))?;
        return Ok(());
    }
    if call.in_exec {
        reply.null_array();
        return Ok(());
    }
    let on_timeout = TimeoutReply::NullArray;
    Err(Stop::Wait(Wait { wants: DataType::List, deadline_ms, on_timeout, keys: (1..last).collect() }))
}

/// When a blocking command that is given this timeout (seconds, fractions allowed, 0 for ever) gives up.
pub fn deadline(timeout: &[u8], now_ms: u64) -> Outcome<Option<u64>> {
    let seconds = match parse_f64(timeout) {
        Some(seconds) if seconds.is_finite() => seconds,
        Some(_) => return fail("ERR timeout is out of range"),
        None => return fail("ERR timeout is not a float or out of range"),
    };
    let ms = (seconds * 1000.0).ceil();
    if ms > i64::MAX as f64 {
        return fail("ERR timeout is out of range");
    }
    if ms < 0.0 {
        return fail("ERR timeout is negative");
    }
    if ms == 0.0 {
        return Ok(None);
    }
    match i64::try_from(now_ms).ok().and_then(|now| now.checked_add(ms as i64)) {
        Some(at_ms) => Ok(Some(at_ms as u64)),
        None => fail("ERR timeout is out of range"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_seconds_with_fractions_and_zero_is_for_ever() {
        assert_eq!(deadline(b"0", 1000).unwrap(), None);
        assert_eq!(deadline(b"0.001", 1000).unwrap(), Some(1001));
        assert_eq!(deadline(b"2", 1000).unwrap(), Some(3000));
        for bad in [&b"-1"[..], b"x", b"inf", b"1e300"] {
            assert!(deadline(bad, 1000).is_err());
        }
    }
}
