//! Taking members from either end, at once or as soon as there are any.

use crate::base::number::parse_i64;
use crate::commands::not_negative;
use crate::commands::wait::{wait_deadline_ms, wait_or_null_array};
use crate::dispatch::Call;
use crate::encoding::head::DataType;
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Key, Outcome, Stored, fail};
use crate::resp::{Args, Proto, Reply};
use crate::types::zset::{self, Side};
use std::ops::Range;

pub(super) fn zpopmin(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(call, reply, Side::Low)
}

pub(super) fn zpopmax(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(call, reply, Side::High)
}

fn pop(call: &mut Call<'_>, reply: &mut Reply<'_>, side: Side) -> Outcome {
    if call.args.len() > 3 {
        return Err(Error::Syntax.into());
    }
    let count = call.args.get(2).map(not_negative).transpose()?;
    let key = call.key(1);
    let Some(stored) = zset::load(&mut call.txn, &key)? else {
        reply.array(0);
        return Ok(());
    };
    let members = count.unwrap_or(1).min(zset::len(&stored)?);
    let nested = count.is_some() && reply.proto() == Proto::Resp3;
    reply.array(if nested { members } else { members * 2 } as usize);
    take(call, reply, &key, &stored, side, members, nested)
}

/// Takes so many members and writes them, each with its score.
fn take(
    call: &mut Call<'_>,
    reply: &mut Reply<'_>,
    key: &Key,
    stored: &Stored,
    side: Side,
    members: u64,
    nested: bool,
) -> Outcome {
    zset::pop(&mut call.txn, key, stored, side, members, |member, score| {
        if nested {
            reply.array(2);
        }
        reply.bulk(member);
        reply.double(score);
    })?;
    if members > 0 {
        call.txn.note_removal(Events::ZSET, if side == Side::Low { "zpopmin" } else { "zpopmax" }, key);
    }
    Ok(())
}

/// The first of these keys that is there.
fn first_of(call: &mut Call<'_>, keys: Range<usize>) -> Outcome<Option<(usize, Key, Stored)>> {
    call.txn.expect_work(keys.len() as u64)?;
    for index in keys {
        let key = call.key(index);
        if let Some(stored) = zset::load(&mut call.txn, &key)? {
            return Ok(Some((index, key, stored)));
        }
    }
    Ok(None)
}

pub(super) fn bzpopmin(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    blocking_pop(call, reply, Side::Low)
}

pub(super) fn bzpopmax(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    blocking_pop(call, reply, Side::High)
}

fn blocking_pop(call: &mut Call<'_>, reply: &mut Reply<'_>, side: Side) -> Outcome {
    let keys = 1..call.args.len() - 1;
    let deadline_ms = wait_deadline_ms(call.args.at(keys.end), call.txn.now_ms())?;
    let Some((index, key, stored)) = first_of(call, keys.clone())? else {
        return wait_or_null_array(call, reply, DataType::Zset, keys, deadline_ms);
    };
    reply.array(3);
    reply.bulk(call.args.at(index));
    take(call, reply, &key, &stored, side, 1, false)
}

/// What ZMPOP and BZMPOP are asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    keys: Range<usize>,
    side: Side,
    count: u64,
}

fn positive(text: &[u8], error: &'static str) -> Outcome<u64> {
    match parse_i64(text).and_then(|number| u64::try_from(number).ok()) {
        Some(number) if number > 0 => Ok(number),
        _ => fail(error),
    }
}

/// `at`: where the number of keys stands.
fn parse(args: Args<'_>, at: usize) -> Outcome<Asked> {
    let keys = positive(args.at(at), "ERR numkeys should be greater than 0")?;
    let keys = usize::try_from(keys).unwrap_or(usize::MAX);
    let first = at + 1;
    let end = first.saturating_add(keys);
    let side = match args.get(end) {
        Some(word) if word.eq_ignore_ascii_case(b"min") => Side::Low,
        Some(word) if word.eq_ignore_ascii_case(b"max") => Side::High,
        _ => return Err(Error::Syntax.into()),
    };
    let rest = args.skip(end + 1);
    let count = match (rest.len(), rest.get(0)) {
        (0, _) => 1,
        (words, Some(word)) if words >= 2 && word.eq_ignore_ascii_case(b"count") => {
            positive(rest.at(1), "ERR count should be greater than 0")?
        }
        _ => return Err(Error::Syntax.into()),
    };
    if rest.len() > 2 {
        return Err(Error::Syntax.into());
    }
    Ok(Asked { keys: first..end, side, count })
}

/// Key, then the members taken, each paired with its score.
fn take_many(
    call: &mut Call<'_>,
    reply: &mut Reply<'_>,
    asked: &Asked,
    (index, key, stored): (usize, Key, Stored),
) -> Outcome {
    let members = asked.count.min(zset::len(&stored)?);
    reply.array(2);
    reply.bulk(call.args.at(index));
    reply.array(members as usize);
    take(call, reply, &key, &stored, asked.side, members, true)
}

pub(super) fn zmpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let asked = parse(call.args, 1)?;
    match first_of(call, asked.keys.clone())? {
        Some(found) => take_many(call, reply, &asked, found),
        None => {
            reply.null_array();
            Ok(())
        }
    }
}

pub(super) fn bzmpop(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let asked = parse(call.args, 2)?;
    let deadline_ms = wait_deadline_ms(call.args.at(1), call.txn.now_ms())?;
    match first_of(call, asked.keys.clone())? {
        Some(found) => take_many(call, reply, &asked, found),
        None => wait_or_null_array(call, reply, DataType::Zset, asked.keys, deadline_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn keys_are_counted_and_a_side_follows_them() {
        let read = |line: &str| {
            let args = OwnedArgs::from_slices(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            parse(args.args(), 1).ok()
        };
        assert_eq!(read("zmpop 2 a b MAX"), Some(Asked { keys: 2..4, side: Side::High, count: 1 }));
        assert_eq!(read("zmpop 1 a min count 3"), Some(Asked { keys: 2..3, side: Side::Low, count: 3 }));
        for wrong in [
            "zmpop 0 min",
            "zmpop 2 a min",
            "zmpop 9223372036854775807 a min",
            "zmpop 1 a min count",
            "zmpop 1 a min count 0",
            "zmpop 1 a min count 1 x",
            "zmpop 1 a mid",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
