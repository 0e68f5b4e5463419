//! How long keys live: EXPIRE and its kin set it, TTL and its kin tell it, PERSIST ends it.
//!
//! All times become unix milliseconds here. A time that is already past deletes the key at once (see `types::keys::expire`).

use crate::base::number::parse_i64;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{Fast, ReadOnly, Write};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::{Args, Reply};
use crate::types::keys::{self, ExpireCondition};

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("expire", expire)
        .arity(-3)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::Generic)
        .since("1.0.0")
        .summary("Lets a key end after some seconds.")
        .syntax("key@0 seconds:int [condition<NX | XX | GT | LT>^7.0.0]"),
    Command::new("expireat", expireat)
        .arity(-3)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::Generic)
        .since("1.2.0")
        .summary("Lets a key end at a given second.")
        .syntax("key@0 unix-time-seconds:time [condition<NX | XX | GT | LT>^7.0.0]"),
    Command::new("expiretime", expiretime)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Generic)
        .since("7.0.0")
        .summary("Tells the second at which a key ends.")
        .syntax("key@0"),
    Command::new("persist", persist)
        .arity(2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::Generic)
        .since("2.2.0")
        .summary("Lets a key stay for good.")
        .syntax("key@0"),
    Command::new("pexpire", pexpire)
        .arity(-3)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::Generic)
        .since("2.6.0")
        .summary("Lets a key end after some milliseconds.")
        .syntax("key@0 milliseconds:int [condition<NX | XX | GT | LT>^7.0.0]"),
    Command::new("pexpireat", pexpireat)
        .arity(-3)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::Generic)
        .since("2.6.0")
        .summary("Lets a key end at a given millisecond.")
        .syntax("key@0 unix-time-milliseconds:time [condition<NX | XX | GT | LT>^7.0.0]"),
    Command::new("pexpiretime", pexpiretime)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Generic)
        .since("7.0.0")
        .summary("Tells the millisecond at which a key ends.")
        .syntax("key@0"),
    Command::new("pttl", pttl)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Generic)
        .tips(&["nondeterministic_output"])
        .since("2.6.0")
        .summary("Tells how many milliseconds a key has left.")
        .syntax("key@0"),
    Command::new("ttl", ttl)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Generic)
        .tips(&["nondeterministic_output"])
        .since("1.0.0")
        .summary("Tells how many seconds a key has left.")
        .syntax("key@0"),
]);

/// The unit of a time given or told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
}

fn expire(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let from_ms = call.txn.now_ms() as i64;
    set(call, reply, "expire", from_ms, Unit::Seconds)
}

fn pexpire(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let from_ms = call.txn.now_ms() as i64;
    set(call, reply, "pexpire", from_ms, Unit::Milliseconds)
}

fn expireat(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    set(call, reply, "expireat", 0, Unit::Seconds)
}

fn pexpireat(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    set(call, reply, "pexpireat", 0, Unit::Milliseconds)
}

/// Sets an expiry counted from `from_ms`.
fn set(call: &mut Call<'_>, reply: &mut Reply<'_>, name: &'static str, from_ms: i64, unit: Unit) -> Outcome {
    let condition = condition(call.args.skip(3))?;
    let time = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    let at_ms = expiry_ms(time, from_ms, unit)
        .ok_or_else(|| Error::Text(format!("ERR invalid expire time in '{name}' command").into()))?;
    let key = call.key(1);
    let set = keys::expire(&mut call.txn, &key, at_ms, condition)?;
    if set {
        call.txn.note(Events::GENERIC, if at_ms > call.txn.now_ms() as i64 { "expire" } else { "del" }, &key);
    }
    reply.integer(i64::from(set));
    Ok(())
}

/// The unix milliseconds of a time counted from `from_ms`, if it can be told.
fn expiry_ms(time: i64, from_ms: i64, unit: Unit) -> Option<i64> {
    let time_ms = if unit == Unit::Seconds { time.checked_mul(1000)? } else { time };
    time_ms.checked_add(from_ms)
}

/// NX, XX, GT and LT, as far as they go together.
fn condition(options: Args<'_>) -> Outcome<ExpireCondition> {
    let mut condition = ExpireCondition::default();
    for option in options.iter() {
        match option.to_ascii_lowercase().as_slice() {
            b"nx" => condition.none_yet = true,
            b"xx" => condition.has_one = true,
            b"gt" => condition.later = true,
            b"lt" => condition.earlier = true,
            _ => return Err(Error::quoting("ERR Unsupported option ", option, "").into()),
        }
    }
    if condition.none_yet && (condition.has_one || condition.later || condition.earlier) {
        return fail("ERR NX and XX, GT or LT options at the same time are not compatible");
    }
    if condition.later && condition.earlier {
        return fail("ERR GT and LT options at the same time are not compatible");
    }
    Ok(condition)
}

fn persist(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let persisted = keys::persist(&mut call.txn, &key)?;
    if persisted {
        call.txn.note(Events::GENERIC, "persist", &key);
    }
    reply.integer(i64::from(persisted));
    Ok(())
}

fn ttl(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let now_ms = call.txn.now_ms() as i64;
    tell(call, reply, now_ms, Unit::Seconds)
}

fn pttl(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let now_ms = call.txn.now_ms() as i64;
    tell(call, reply, now_ms, Unit::Milliseconds)
}

fn expiretime(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    tell(call, reply, 0, Unit::Seconds)
}

fn pexpiretime(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    tell(call, reply, 0, Unit::Milliseconds)
}

/// Tells an expiry, counted from `from_ms`: -2 for no key, -1 for no expiry; seconds are rounded to the nearest.
fn tell(call: &mut Call<'_>, reply: &mut Reply<'_>, from_ms: i64, unit: Unit) -> Outcome {
    call.txn.set_quiet(true);
    let key = call.key(1);
    let told = match call.txn.load(&key)?.map(|stored| keys::expires_at(&stored)) {
        None => -2,
        Some(None) => -1,
        Some(Some(at_ms)) => in_unit(at_ms.saturating_sub(from_ms).max(0), unit),
    };
    reply.integer(told);
    Ok(())
}

fn in_unit(ms: i64, unit: Unit) -> i64 {
    match unit {
        Unit::Milliseconds => ms,
        Unit::Seconds => ms / 1000 + i64::from(ms % 1000 >= 500),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Stop;
    use crate::resp::OwnedArgs;

    fn check(options: &[&[u8]], expected: Result<ExpireCondition, &str>) {
        let said = condition(OwnedArgs::from_slices(options).args()).map_err(|stop| match stop {
            Stop::Error(error) => error.to_string(),
            other => format!("{other:?}"),
        });
        assert_eq!(said, expected.map_err(str::to_owned));
    }

    #[test]
    fn conditions_are_read_in_any_case_and_more_than_once() {
        let none_yet = ExpireCondition { none_yet: true, ..ExpireCondition::default() };
        check(&[b"NX", b"nx"], Ok(none_yet));
        let both = ExpireCondition { has_one: true, later: true, ..ExpireCondition::default() };
        check(&[b"gt", b"Xx"], Ok(both));
    }

    #[test]
    fn conditions_that_contradict_each_other_are_refused() {
        let not_with_nx = "ERR NX and XX, GT or LT options at the same time are not compatible";
        check(&[b"nx", b"xx"], Err(not_with_nx));
        check(&[b"gt", b"lt", b"nx"], Err(not_with_nx));
        check(&[b"gt", b"lt"], Err("ERR GT and LT options at the same time are not compatible"));
        check(&[b"gt", b"foo", b"lt"], Err("ERR Unsupported option foo"));
    }

    #[test]
    fn times_too_far_away_cannot_be_told() {
        assert_eq!(expiry_ms(10, 5, Unit::Seconds), Some(10_005));
        assert_eq!(expiry_ms(i64::MAX / 1000, 0, Unit::Seconds), Some(i64::MAX / 1000 * 1000));
        assert_eq!(expiry_ms(i64::MAX / 1000 + 1, 0, Unit::Seconds), None);
        assert_eq!(expiry_ms(i64::MIN / 1000 - 1, 0, Unit::Seconds), None);
        assert_eq!(expiry_ms(i64::MAX, 1, Unit::Milliseconds), None);
        assert_eq!(expiry_ms(i64::MIN, 1, Unit::Milliseconds), Some(i64::MIN + 1));
    }

    #[test]
    fn seconds_are_rounded_to_the_nearest() {
        assert_eq!([499, 500, 1499, 1500].map(|ms| in_unit(ms, Unit::Seconds)), [0, 1, 1, 2]);
        assert_eq!(in_unit(i64::MAX, Unit::Seconds), 9_223_372_036_854_776);
    }
}
