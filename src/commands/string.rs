//! Strings: GET, SET and what belongs to them. How they are kept is in `types::string`.

mod options;

use crate::base::number::{IntText, parse_i64};
use crate::dispatch::keyspec::{KeySpec, set_keys};
use crate::dispatch::spec::Flag::{DenyOom, Fast, ReadOnly, Write};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::encoding::head::{Body, DataType};
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Key, Outcome, Stored, Txn, fail};
use crate::resp::{Args, Reply};
use crate::types::string;
use options::{Lifetime, Of, Unit};
use std::ops::Range;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("append", append)
        .arity(3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::String)
        .since("2.0.0")
        .summary("Adds bytes to the end of a string, which may be missing.")
        .syntax("key@0 value"),
    Command::new("decr", decr)
        .arity(2)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).access().update()])
        .group(Group::String)
        .since("1.0.0")
        .summary("Takes one from an integer.")
        .syntax("key@0"),
    Command::new("decrby", decrby)
        .arity(3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).access().update()])
        .group(Group::String)
        .since("1.0.0")
        .summary("Takes a number from an integer.")
        .syntax("key@0 decrement:int"),
    Command::new("get", get)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::String)
        .since("1.0.0")
        .summary("Reads a string.")
        .syntax("key@0"),
    Command::new("getdel", getdel)
        .arity(2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().delete()])
        .group(Group::String)
        .since("6.2.0")
        .summary("Reads a string and removes it.")
        .syntax("key@0"),
    Command::new("getex", getex)
        .arity(-2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().update().note("Its options change the expiry time")])
        .group(Group::String)
        .since("6.2.0")
        .summary("Reads a string and changes when it ends.")
        .syntax(
            "key@0 [expiration<EX seconds:int | PX milliseconds:int | EXAT unix-time-seconds:time | PXAT \
             unix-time-milliseconds:time | PERSIST>]",
        ),
    Command::new("getrange", getrange)
        .arity(4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::String)
        .since("2.4.0")
        .complexity("O(N)")
        .summary("Reads a part of a string.")
        .syntax("key@0 start:int end:int"),
    Command::new("getset", getset)
        .arity(3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).access().update()])
        .group(Group::String)
        .since("1.0.0")
        .summary("Sets a string and gives back what was there.")
        .syntax("key@0 value")
        .deprecated("6.2.0", "`SET` with the `!GET` argument"),
    Command::new("incr", incr)
        .arity(2)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).access().update()])
        .group(Group::String)
        .since("1.0.0")
        .summary("Adds one to an integer.")
        .syntax("key@0"),
    Command::new("incrby", incrby)
        .arity(3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).access().update()])
        .group(Group::String)
        .since("1.0.0")
        .summary("Adds a number to an integer.")
        .syntax("key@0 increment:int"),
    Command::new("incrbyfloat", incrbyfloat)
        .arity(3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).access().update()])
        .group(Group::String)
        .since("2.6.0")
        .summary("Adds a number with a fraction to a number.")
        .syntax("key@0 increment:double"),
    Command::new("mget", mget)
        .arity(-2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).to(-1).access()])
        .group(Group::String)
        .tips(&["request_policy:multi_shard"])
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Reads several strings at once.")
        .syntax("key@0..."),
    Command::new("mset", mset)
        .arity(-3)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ow(1).to(-1).step(2).update()])
        .group(Group::String)
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .since("1.0.1")
        .complexity("O(N)")
        .summary("Sets several strings at once.")
        .syntax("data(key@0 value)..."),
    Command::new("msetnx", msetnx)
        .arity(-3)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ow(1).to(-1).step(2).insert()])
        .group(Group::String)
        .since("1.0.1")
        .complexity("O(N)")
        .summary("Sets several strings at once unless one of them exists.")
        .syntax("data(key@0 value)..."),
    Command::new("psetex", psetex)
        .arity(4)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ow(1).update()])
        .group(Group::String)
        .since("2.6.0")
        .summary("Sets a string that ends after some milliseconds.")
        .syntax("key@0 milliseconds:int value")
        .deprecated("2.6.12", "`SET` with the `PX` argument"),
    Command::new("set", set)
        .arity(-3)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::rw(1).access().update().variable().note("With GET the old value is given out too")])
        .find_keys(set_keys)
        .group(Group::String)
        .since("1.0.0")
        .summary("Sets a string, whatever the key held.")
        .syntax(
            "key@0 value [condition<NX | XX>^2.6.12] [GET^6.2.0] [expiration<EX seconds:int^2.6.12 | PX \
             milliseconds:int^2.6.12 | EXAT unix-time-seconds:time^6.2.0 | PXAT \
             unix-time-milliseconds:time^6.2.0 | KEEPTTL^6.0.0>]",
        ),
    Command::new("setex", setex)
        .arity(4)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ow(1).update()])
        .group(Group::String)
        .since("2.0.0")
        .summary("Sets a string that ends after some seconds.")
        .syntax("key@0 seconds:int value")
        .deprecated("2.6.12", "`SET` with the `EX` argument"),
    Command::new("setnx", setnx)
        .arity(3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::ow(1).insert()])
        .group(Group::String)
        .since("1.0.0")
        .summary("Sets a string unless the key exists.")
        .syntax("key@0 value")
        .deprecated("2.6.12", "`SET` with the `NX` argument"),
    Command::new("setrange", setrange)
        .arity(4)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::String)
        .since("2.2.0")
        .complexity("O(1), or O(M) for M bytes that do not fit a small string")
        .summary("Writes over a part of a string, from an offset on.")
        .syntax("key@0 offset:int value"),
    Command::new("strlen", strlen)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1)])
        .group(Group::String)
        .since("2.2.0")
        .summary("Tells the length of a string.")
        .syntax("key@0"),
    Command::new("substr", substr)
        .arity(4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::String)
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Reads a part of a string, under the old name.")
        .syntax("key@0 start:int end:int")
        .deprecated("2.0.0", "`GETRANGE`"),
]);

/// Writes a whole string as the reply: straight from the head, or chunk by chunk.
fn write_string(txn: &mut Txn<'_>, stored: &Stored, reply: &mut Reply<'_>) -> Outcome {
    match stored.body() {
        Body::Whole(bytes) => reply.bulk(bytes),
        Body::Spread(spread) => write_range(txn, stored, 0..spread.count, reply)?,
    }
    Ok(())
}

/// Writes a part of a string as the reply. The range lies within the string.
fn write_range(txn: &mut Txn<'_>, stored: &Stored, range: Range<u64>, reply: &mut Reply<'_>) -> Outcome {
    string::expect_read(txn, range.end - range.start)?;
    // In one piece: a huge reply that grows is copied, and in memory twice meanwhile.
    reply.reserve((range.end - range.start) as usize + 32);
    reply.raw(b"$");
    reply.raw(IntText::unsigned(range.end - range.start).as_bytes());
    reply.raw(b"\r\n");
    string::read(txn, stored, range, |piece| reply.raw(piece))?;
    reply.raw(b"\r\n");
    Ok(())
}

/// Writes a string, or null for none.
fn write_optional(txn: &mut Txn<'_>, stored: Option<&Stored>, reply: &mut Reply<'_>) -> Outcome {
    match stored {
        Some(stored) => write_string(txn, stored, reply)?,
        None => reply.null(),
    }
    Ok(())
}

fn get(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = string::load(&mut call.txn, &key)?;
    write_optional(&mut call.txn, stored.as_ref(), reply)
}

fn mget(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let count = call.args.len() - 1;
    call.txn.expect_work(count as u64)?;
    reply.array(count);
    for index in 1..=count {
        let key = call.key(index);
        let stored = call.txn.load(&key)?.filter(|stored| stored.data_type() == DataType::String);
        write_optional(&mut call.txn, stored.as_ref(), reply)?;
    }
    Ok(())
}

/// Loads a string that a command reads before it changes it: a lookup, as INFO counts them.
fn load_to_read(txn: &mut Txn<'_>, key: &Key) -> Outcome<Option<Stored>> {
    txn.counted(|txn| string::load(txn, key))
}

fn getdel(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = load_to_read(&mut call.txn, &key)?;
    write_optional(&mut call.txn, stored.as_ref(), reply)?;
    if stored.is_some() {
        call.txn.delete(&key)?;
        call.txn.note(Events::GENERIC, "del", &key);
    }
    Ok(())
}

fn getset(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = load_to_read(&mut call.txn, &key)?;
    write_optional(&mut call.txn, stored.as_ref(), reply)?;
    put(&mut call.txn, &key, call.args.at(2), None)
}

fn getex(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = options::parse(call.args.skip(2), Of::Getex)?;
    let key = call.key(1);
    let Some(stored) = load_to_read(&mut call.txn, &key)? else {
        reply.null();
        return Ok(());
    };
    let expires_at_ms = match options.lifetime {
        Lifetime::Given(unit, text) => Some(options::deadline_ms(unit, text, call.txn.now_ms(), "getex")?),
        Lifetime::Persist => None,
        Lifetime::Unsaid | Lifetime::Keep => return write_string(&mut call.txn, &stored, reply),
    };
    write_string(&mut call.txn, &stored, reply)?;
    string::set_expiry(&mut call.txn, &key, &stored, expires_at_ms)?;
    match expires_at_ms {
        Some(_) => note_expiry(&mut call.txn, &key, expires_at_ms),
        None if stored.expires_at_ms().is_some() => call.txn.note(Events::GENERIC, "persist", &key),
        None => {}
    }
    Ok(())
}

fn set(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (key, value) = (call.key(1), call.args.at(2));
    if call.args.len() == 3 {
        put(&mut call.txn, &key, value, None)?;
        reply.ok();
        return Ok(());
    }
    let options = options::parse(call.args.skip(3), Of::Set)?;
    let mut expires_at_ms = match options.lifetime {
        Lifetime::Given(unit, text) => Some(options::deadline_ms(unit, text, call.txn.now_ms(), "set")?),
        _ => None,
    };
    let keeps = options.lifetime == Lifetime::Keep;
    if options.get || keeps || options.if_missing || options.if_present {
        call.txn.set_counting(options.get);
        let stored = call.txn.load(&key)?;
        call.txn.set_counting(false);
        if options.get {
            if stored.as_ref().is_some_and(|stored| stored.data_type() != DataType::String) {
                return Err(Error::WrongType.into());
            }
            write_optional(&mut call.txn, stored.as_ref(), reply)?;
        }
        let is_met = if stored.is_some() { !options.if_missing } else { !options.if_present };
        if !is_met {
            if !options.get {
                reply.null();
            }
            return Ok(());
        }
        if keeps {
            expires_at_ms = stored.and_then(|stored| stored.expires_at_ms());
        }
    }
    if keeps {
        put(&mut call.txn, &key, value, expires_at_ms)?;
    } else {
        set_until(&mut call.txn, &key, value, expires_at_ms)?;
    }
    if !options.get {
        reply.ok();
    }
    Ok(())
}

/// Makes a key this string, with its events.
fn put(txn: &mut Txn<'_>, key: &Key, value: &[u8], expires_at_ms: Option<u64>) -> Outcome {
    let before = txn.overwritten(key)?;
    string::set(txn, key, value, expires_at_ms)?;
    txn.note_overwritten(key, before, DataType::String);
    txn.note(Events::STRING, "set", key);
    Ok(())
}

/// The same with a time to live. A time that is not in the future removes the key.
fn set_until(txn: &mut Txn<'_>, key: &Key, value: &[u8], expires_at_ms: Option<u64>) -> Outcome {
    if expires_at_ms.is_some_and(|at_ms| at_ms <= txn.now_ms()) {
        let before = txn.overwritten(key)?;
        // As if it had been there for a moment: so it is in Redis.
        if txn.load(key)?.is_none() {
            string::set(txn, key, value, None)?;
        }
        txn.delete(key)?;
        txn.note_overwritten(key, before, DataType::String);
        txn.note(Events::STRING, "set", key);
        txn.note(Events::GENERIC, "expire", key);
        txn.note(Events::EXPIRED, "expired", key);
        return Ok(());
    }
    put(txn, key, value, expires_at_ms)?;
    if expires_at_ms.is_some() {
        txn.note(Events::GENERIC, "expire", key);
    }
    Ok(())
}

/// The event of a new expiry, if there is one.
fn note_expiry(txn: &mut Txn<'_>, key: &Key, expires_at_ms: Option<u64>) {
    match expires_at_ms {
        Some(at_ms) if at_ms <= txn.now_ms() => txn.note(Events::GENERIC, "del", key),
        Some(_) => txn.note(Events::GENERIC, "expire", key),
        None => {}
    }
}

fn setex(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_for(call, reply, Unit::Seconds, "setex")
}

fn psetex(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_for(call, reply, Unit::Milliseconds, "psetex")
}

fn set_for(call: &mut Call<'_>, reply: &mut Reply<'_>, unit: Unit, command: &str) -> Outcome {
    let at_ms = options::deadline_ms(unit, call.args.at(2), call.txn.now_ms(), command)?;
    let key = call.key(1);
    set_until(&mut call.txn, &key, call.args.at(3), Some(at_ms))?;
    reply.ok();
    Ok(())
}

fn setnx(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let is_missing = call.txn.load(&key)?.is_none();
    if is_missing {
        string::set(&mut call.txn, &key, call.args.at(2), None)?;
        call.txn.note(Events::STRING, "set", &key);
    }
    reply.integer(i64::from(is_missing));
    Ok(())
}

fn mset(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    check_pairs(call.args, "mset")?;
    set_pairs(call)?;
    reply.ok();
    Ok(())
}

fn msetnx(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    check_pairs(call.args, "msetnx")?;
    call.txn.expect_work(call.args.len() as u64 / 2)?;
    for index in (1..call.args.len()).step_by(2) {
        let key = call.key(index);
        if call.txn.load(&key)?.is_some() {
            reply.integer(0);
            return Ok(());
        }
    }
    set_pairs(call)?;
    reply.integer(1);
    Ok(())
}

/// Every key must have its value.
fn check_pairs(args: Args<'_>, command: &'static str) -> Outcome {
    if args.len() % 2 == 1 { Ok(()) } else { Err(Error::Arity(command.into()).into()) }
}

fn set_pairs(call: &mut Call<'_>) -> Outcome {
    call.txn.expect_work(call.args.len() as u64 / 2)?;
    for index in (1..call.args.len()).step_by(2) {
        let key = call.key(index);
        put(&mut call.txn, &key, call.args.at(index + 1), None)?;
    }
    Ok(())
}

fn strlen(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = string::load(&mut call.txn, &key)?;
    reply.integer(stored.as_ref().map_or(0, string::len) as i64);
    Ok(())
}

fn append(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let len = string::append(&mut call.txn, &key, call.args.at(2))?;
    call.txn.note(Events::STRING, "append", &key);
    reply.integer(len as i64);
    Ok(())
}

fn getrange(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let start = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    let end = parse_i64(call.args.at(3)).ok_or(Error::NotInteger)?;
    let key = call.key(1);
    let Some(stored) = string::load(&mut call.txn, &key)? else {
        reply.bulk(b"");
        return Ok(());
    };
    let range = byte_range(start, end, string::len(&stored));
    write_range(&mut call.txn, &stored, range, reply)
}

fn substr(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    getrange(call, reply)
}

/// The bytes from `start` to `end`, both included and counted from the end when negative, of a string of `len` bytes.
fn byte_range(start: i64, end: i64, len: u64) -> Range<u64> {
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_start = |index: i64| if index < 0 { (len + index).max(0) } else { index };
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    if start > end { 0..0 } else { start as u64..end as u64 + 1 }
}

fn setrange(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let offset = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    let Ok(offset) = u64::try_from(offset) else { return fail("ERR offset is out of range") };
    let key = call.key(1);
    let len = string::set_range(&mut call.txn, &key, offset, call.args.at(3))?;
    if !call.args.at(3).is_empty() {
        call.txn.note(Events::STRING, "setrange", &key);
    }
    reply.integer(len as i64);
    Ok(())
}

fn incr(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    add(call, reply, 1)
}

fn decr(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    add(call, reply, -1)
}

fn incrby(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let by = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    add(call, reply, by)
}

fn decrby(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let by = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    match by.checked_neg() {
        Some(by) => add(call, reply, by),
        None => fail("ERR decrement would overflow"),
    }
}

fn add(call: &mut Call<'_>, reply: &mut Reply<'_>, by: i64) -> Outcome {
    let key = call.key(1);
    let sum = string::increment(&mut call.txn, &key, by)?;
    call.txn.note(Events::STRING, "incrby", &key);
    reply.integer(sum);
    Ok(())
}

fn incrbyfloat(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let sum = string::increment_float(&mut call.txn, &key, call.args.at(2))?;
    call.txn.note(Events::STRING, "incrbyfloat", &key);
    reply.bulk_str(&sum);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_from_either_end_and_stay_within_the_string() {
        let check = |start, end, expected: Range<u64>| {
            assert_eq!(byte_range(start, end, 11), expected, "{start} {end}");
        };
        check(0, 4, 0..5);
        check(-5, -1, 6..11);
        check(6, 100, 6..11);
        check(100, 200, 0..0);
        check(5, 3, 0..0);
        check(-1, -5, 0..0);
        check(-100, 2, 0..3);
        check(-100, -50, 0..1);
        check(0, -100, 0..1);
        check(i64::MIN, i64::MAX, 0..11);
        check(i64::MAX, 1, 0..0);
        assert_eq!(byte_range(0, -1, 0), 0..0);
    }
}
