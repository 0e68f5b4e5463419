//! Hashes: all commands but those about the life of single fields. How hashes are kept is in `types::hash`.

use crate::base::glob::glob_match;
use crate::base::longdouble::LongDouble;
use crate::base::number::{IntText, parse_i64, parse_u64_loose};
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{DenyOom, Fast, ReadOnly, Write};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::encoding::head::Body;
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Outcome, Stored, Txn, fail};
use crate::resp::{Args, Proto, Reply};
use crate::types::hash;
use crate::types::pick::Picks;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("hdel", hdel)
        .arity(-3)
        .element(2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::Hash)
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Removes fields of a hash.")
        .syntax("key@0 field..."),
    Command::new("hexists", hexists)
        .arity(3)
        .element(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1)])
        .group(Group::Hash)
        .since("2.0.0")
        .summary("Tells whether a hash has a field.")
        .syntax("key@0 field"),
    Command::new("hget", hget)
        .arity(3)
        .element(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Hash)
        .since("2.0.0")
        .summary("Reads a field of a hash.")
        .syntax("key@0 field"),
    Command::new("hgetall", hgetall)
        .arity(2)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Hash)
        .tips(&["nondeterministic_output_order"])
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Reads all fields of a hash with their values.")
        .syntax("key@0"),
    Command::new("hgetdel", hgetdel)
        .arity(-5)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().delete()])
        .group(Group::Hash)
        .since("8.0.0")
        .complexity("O(N)")
        .summary("Reads fields of a hash and removes them.")
        .syntax("key@0 FIELDS fields(numfields:int field...)"),
    Command::new("hincrby", hincrby)
        .arity(4)
        .element(2)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).access().update()])
        .group(Group::Hash)
        .since("2.0.0")
        .summary("Adds an integer to a field.")
        .syntax("key@0 field increment:int"),
    Command::new("hincrbyfloat", hincrbyfloat)
        .arity(4)
        .element(2)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).access().update()])
        .group(Group::Hash)
        .since("2.6.0")
        .summary("Adds a number with a fraction to a field.")
        .syntax("key@0 field increment:double"),
    Command::new("hkeys", hkeys)
        .arity(2)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Hash)
        .tips(&["nondeterministic_output_order"])
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Lists the fields of a hash.")
        .syntax("key@0"),
    Command::new("hlen", hlen)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1)])
        .group(Group::Hash)
        .since("2.0.0")
        .summary("Counts the fields of a hash.")
        .syntax("key@0"),
    Command::new("hmget", hmget)
        .arity(-3)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Hash)
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Reads several fields of a hash.")
        .syntax("key@0 field..."),
    Command::new("hmset", hmset)
        .arity(-4)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::Hash)
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Sets several fields of a hash.")
        .syntax("key@0 data(field value)...")
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs"),
    Command::new("hrandfield", hrandfield)
        .arity(-2)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Hash)
        .tips(&["nondeterministic_output"])
        .since("6.2.0")
        .complexity("O(N)")
        .summary("Picks fields of a hash by chance.")
        .syntax("key@0 [options(count:int [WITHVALUES])]"),
    Command::new("hscan", hscan)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Hash)
        .tips(&["nondeterministic_output"])
        .since("2.8.0")
        .complexity("O(1) a call, O(N) to the end")
        .summary("Goes through the fields of a hash step by step.")
        .syntax("key@0 cursor:int [MATCH pattern:pattern] [COUNT count:int] [NOVALUES]"),
    Command::new("hset", hset)
        .arity(-4)
        .element(2)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::Hash)
        .since("2.0.0")
        .complexity("O(N), N the fields")
        .summary("Sets fields of a hash, which may be missing.")
        .syntax("key@0 data(field value)..."),
    Command::new("hsetnx", hsetnx)
        .arity(4)
        .element(2)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).insert()])
        .group(Group::Hash)
        .since("2.0.0")
        .summary("Sets a field unless the hash has it.")
        .syntax("key@0 field value"),
    Command::new("hstrlen", hstrlen)
        .arity(3)
        .element(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1)])
        .group(Group::Hash)
        .since("3.2.0")
        .summary("Tells the length of a field's value.")
        .syntax("key@0 field"),
    Command::new("hvals", hvals)
        .arity(2)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Hash)
        .tips(&["nondeterministic_output_order"])
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Lists the values of a hash.")
        .syntax("key@0"),
]);

/// Fields a page of HSCAN goes through when the client does not say.
const PAGE_FIELDS: u64 = 10;
/// HRANDFIELD with a negative count could go on for ever.
const RANDOM_REPLY_BYTES_MAX: usize = 512 << 20;

/// The pairs of field and value from argument 2 on; the caller has checked that none is cut short.
fn given_pairs<'c>(args: Args<'c>) -> impl ExactSizeIterator<Item = hash::Pair<'c>> + Clone {
    (2..args.len().saturating_sub(1)).step_by(2).map(move |index| (args.at(index), args.at(index + 1)))
}

fn set_given(call: &mut Call<'_>, command: &'static str) -> Outcome<u64> {
    if call.args.len() % 2 == 1 {
        return Err(Error::Arity(command.into()).into());
    }
    let key = call.key(1);
    let stored = hash::load(&mut call.txn, &key)?;
    let added = hash::set(&mut call.txn, &key, stored.as_ref(), given_pairs(call.args))?;
    call.txn.note(Events::HASH, "hset", &key);
    Ok(added)
}

fn hset(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let added = set_given(call, "hset")?;
    reply.integer(added as i64);
    Ok(())
}

fn hmset(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_given(call, "hmset")?;
    reply.ok();
    Ok(())
}

fn hsetnx(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = hash::load(&mut call.txn, &key)?;
    let is_new = read_field(&mut call.txn, stored.as_ref(), call.args.at(2), |value| value.is_none())?;
    if is_new {
        hash::set(&mut call.txn, &key, stored.as_ref(), given_pairs(call.args))?;
        call.txn.note(Events::HASH, "hset", &key);
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

/// Shows a field's value to `read`; no hash is a hash without fields.
fn read_field<T>(
    txn: &mut Txn<'_>,
    stored: Option<&Stored>,
    field: &[u8],
    read: impl FnOnce(Option<&[u8]>) -> T,
) -> Outcome<T> {
    match stored {
        Some(stored) => hash::get(txn, stored, field, read),
        None => Ok(read(None)),
    }
}

fn write_value(reply: &mut Reply<'_>, value: Option<&[u8]>) {
    match value {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}

/// Loads the hash at argument 1 and shows the field at argument 2 to `read`.
fn with_field<T>(call: &mut Call<'_>, read: impl FnOnce(Option<&[u8]>) -> T) -> Outcome<T> {
    let key = call.key(1);
    let stored = hash::load(&mut call.txn, &key)?;
    read_field(&mut call.txn, stored.as_ref(), call.args.at(2), read)
}

fn hget(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    with_field(call, |value| write_value(reply, value))
}

fn hexists(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    with_field(call, |value| reply.integer(i64::from(value.is_some())))
}

fn hstrlen(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    with_field(call, |value| reply.integer(value.map_or(0, <[u8]>::len) as i64))
}

fn hmget(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = hash::load(&mut call.txn, &key)?;
    let fields = call.args.skip(2);
    call.txn.expect_work(fields.len() as u64)?;
    reply.array(fields.len());
    for field in fields.iter() {
        read_field(&mut call.txn, stored.as_ref(), field, |value| write_value(reply, value))?;
    }
    Ok(())
}

fn hlen(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = hash::load(&mut call.txn, &key)?;
    reply.integer(stored.as_ref().map_or(Ok(0), hash::len)? as i64);
    Ok(())
}

fn hgetall(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let Some(stored) = hash::load(&mut call.txn, &key)? else {
        reply.map(0);
        return Ok(());
    };
    let both = |reply: &mut Reply<'_>, field: &[u8], value: &[u8]| {
        reply.bulk(field);
        reply.bulk(value);
    };
    if let Body::Whole(_) = stored.body() {
        reply.map(hash::len(&stored)? as usize);
        return hash::for_each(&mut call.txn, &stored, |field, value| both(reply, field, value));
    }
    let (mark, mut count) = (reply.deferred_map(), 0);
    hash::for_each(&mut call.txn, &stored, |field, value| {
        count += 1;
        both(reply, field, value);
    })?;
    reply.fill_map(mark, count);
    Ok(())
}

fn hkeys(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    list_parts(call, reply, |field, _| field)
}

fn hvals(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    list_parts(call, reply, |_, value| value)
}

/// Lists one part of every pair.
fn list_parts(
    call: &mut Call<'_>,
    reply: &mut Reply<'_>,
    part: for<'p> fn(&'p [u8], &'p [u8]) -> &'p [u8],
) -> Outcome {
    let key = call.key(1);
    let (mark, mut count) = (reply.deferred_array(), 0);
    if let Some(stored) = hash::load(&mut call.txn, &key)? {
        hash::for_each(&mut call.txn, &stored, |field, value| {
            count += 1;
            reply.bulk(part(field, value));
        })?;
    }
    reply.fill_array(mark, count);
    Ok(())
}

fn hdel(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let removed = match hash::load(&mut call.txn, &key)? {
        Some(stored) => hash::take(&mut call.txn, &key, &stored, call.args.skip(2).iter(), |_| ())?,
        None => 0,
    };
    if removed > 0 {
        call.txn.note_removal(Events::HASH, "hdel", &key);
    }
    reply.integer(removed as i64);
    Ok(())
}

fn hgetdel(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stored = hash::load(&mut call.txn, &key)?;
    let args = call.args;
    if !args.at(2).eq_ignore_ascii_case(b"fields") {
        return fail("ERR Mandatory argument FIELDS is missing or not at the right position");
    }
    let Some(count) = parse_i64(args.at(3)).filter(|&count| count > 0) else {
        return fail("ERR Number of fields must be a positive integer");
    };
    let fields = args.skip(4);
    if usize::try_from(count) != Ok(fields.len()) {
        return fail("ERR The `numfields` parameter must match the number of arguments");
    }
    reply.array(fields.len());
    match stored {
        Some(stored) => {
            let take = |value: Option<&[u8]>| write_value(reply, value);
            if hash::take(&mut call.txn, &key, &stored, fields.iter(), take)? > 0 {
                call.txn.note_removal(Events::HASH, "hdel", &key);
            }
        }
        None => fields.iter().for_each(|_| reply.null()),
    }
    Ok(())
}

fn hincrby(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let by = parse_i64(call.args.at(3)).ok_or(Error::NotInteger)?;
    let key = call.key(1);
    let stored = hash::load(&mut call.txn, &key)?;
    let current = read_field(&mut call.txn, stored.as_ref(), call.args.at(2), |value| {
        value.map_or(Some(0), parse_i64)
    })?;
    let Some(current) = current else { return fail("ERR hash value is not an integer") };
    let Some(sum) = current.checked_add(by) else { return fail("ERR increment or decrement would overflow") };
    let text = IntText::new(sum);
    let pair = [(call.args.at(2), text.as_bytes())];
    hash::set(&mut call.txn, &key, stored.as_ref(), pair.into_iter())?;
    call.txn.note(Events::HASH, "hincrby", &key);
    reply.integer(sum);
    Ok(())
}

fn hincrbyfloat(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let by = LongDouble::parse(call.args.at(3)).ok_or(Error::NotFloat)?;
    if by.is_nan_or_infinite() {
        return fail("ERR value is NaN or Infinity");
    }
    let key = call.key(1);
    let stored = hash::load(&mut call.txn, &key)?;
    let current = read_field(&mut call.txn, stored.as_ref(), call.args.at(2), |value| {
        LongDouble::parse(value.unwrap_or(b"0"))
    })?;
    let Some(current) = current else { return fail("ERR hash value is not a float") };
    let sum = current.add(by);
    if sum.is_nan_or_infinite() {
        return fail("ERR increment would produce NaN or Infinity");
    }
    let text = sum.format_human();
    let pair = [(call.args.at(2), text.as_bytes())];
    hash::set(&mut call.txn, &key, stored.as_ref(), pair.into_iter())?;
    call.txn.note(Events::HASH, "hincrbyfloat", &key);
    reply.bulk_str(&text);
    Ok(())
}

fn hrandfield(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    if call.args.len() > 2 {
        return random_fields(call, reply);
    }
    let Some(stored) = hash::load(&mut call.txn, &key)? else {
        reply.null();
        return Ok(());
    };
    hash::pick(&mut call.txn, &stored, Picks::Any(1), |field, _| {
        reply.bulk(field);
        Ok(())
    })
}

/// Reads HRANDFIELD's count and WITHVALUES.
fn random_options(args: Args<'_>) -> Outcome<(Picks, bool)> {
    let count = parse_i64(args.at(0)).ok_or(Error::NotInteger)?;
    if count == i64::MIN {
        return fail(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
    }
    let with_values = match args.get(1) {
        None => false,
        Some(word) if args.len() == 2 && word.eq_ignore_ascii_case(b"withvalues") => true,
        Some(_) => return Err(Error::Syntax.into()),
    };
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return fail("ERR value is out of range");
    }
    let picks = if count < 0 { Picks::Any(count.unsigned_abs()) } else { Picks::Distinct(count as u64) };
    Ok((picks, with_values))
}

fn random_fields(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (picks, with_values) = random_options(call.args.skip(2))?;
    let key = call.key(1);
    let Some(stored) = hash::load(&mut call.txn, &key)? else {
        reply.array(0);
        return Ok(());
    };
    let (start, mark, mut count) = (reply.len(), reply.deferred_array(), 0);
    let nested = with_values && reply.proto() == Proto::Resp3;
    let mut show = |field: &[u8], value: &[u8]| {
        if nested {
            reply.array(2);
        }
        reply.bulk(field);
        if with_values {
            reply.bulk(value);
        }
        count += if with_values && !nested { 2 } else { 1 };
        reply.len() - start
    };
    match picks {
        Picks::Distinct(wanted) if wanted >= hash::len(&stored)? => {
            hash::for_each(&mut call.txn, &stored, |field, value| {
                show(field, value);
            })?;
        }
        _ => hash::pick(&mut call.txn, &stored, picks, |field, value| {
            if show(field, value) > RANDOM_REPLY_BYTES_MAX {
                return fail("ERR value is out of range, the reply would be longer than 512 MB");
            }
            Ok(())
        })?,
    }
    reply.fill_array(mark, count);
    Ok(())
}

/// What HSCAN was asked for.
#[derive(Debug, PartialEq, Eq)]
struct ScanOptions<'a> {
    rows: u64,
    /// None: every field.
    pattern: Option<&'a [u8]>,
    values: bool,
}

fn scan_options(args: Args<'_>) -> Outcome<ScanOptions<'_>> {
    let mut options = ScanOptions { rows: PAGE_FIELDS, pattern: None, values: true };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"novalues") {
            options.values = false;
            continue;
        }
        let Some(value) = words.next() else { return Err(Error::Syntax.into()) };
        if word.eq_ignore_ascii_case(b"count") {
            let rows = parse_i64(value).ok_or(Error::NotInteger)?;
            options.rows = u64::try_from(rows).ok().filter(|&rows| rows > 0).ok_or(Error::Syntax)?;
        } else if word.eq_ignore_ascii_case(b"match") {
            options.pattern = (value != b"*").then_some(value);
        } else {
            return Err(Error::Syntax.into());
        }
    }
    Ok(options)
}

fn hscan(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some(cursor) = parse_u64_loose(call.args.at(2)) else { return fail("ERR invalid cursor") };
    let key = call.key(1);
    let Some(stored) = hash::load(&mut call.txn, &key)? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = scan_options(call.args.skip(3))?;
    // The cursor stands before the fields but is known after them.
    let mut written = call.txn.take_buffer();
    let mut fields = Reply::new(&mut written, reply.proto());
    let mut count = 0;
    let next = hash::page(&mut call.txn, &stored, cursor, options.rows, |field, value| {
        if options.pattern.is_some_and(|pattern| !glob_match(pattern, field, false)) {
            return;
        }
        fields.bulk(field);
        count += 1;
        if options.values {
            fields.bulk(value);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn args(line: &str) -> OwnedArgs {
        OwnedArgs::from_slices(&line.split_whitespace().map(str::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn a_negative_count_picks_with_repetition() {
        let read = |line: &str| random_options(args(line).args()).ok();
        assert_eq!(read("5"), Some((Picks::Distinct(5), false)));
        assert_eq!(read("-5 withVALUES"), Some((Picks::Any(5), true)));
        for wrong in
            ["x", "5 VALUES", "5 WITHVALUES x", "-9223372036854775808", "4611686018427387904 WITHVALUES"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn scan_options_may_repeat_and_star_matches_everything() {
        let line = args("MATCH * count 7 NOVALUES MATCH a* COUNT 9");
        let expected = ScanOptions { rows: 9, pattern: Some(b"a*"), values: false };
        assert_eq!(scan_options(line.args()).ok(), Some(expected));
        for wrong in ["COUNT", "COUNT 0", "COUNT x", "MATCH", "TYPE hash", "FOO"] {
            assert!(scan_options(args(wrong).args()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn given_pairs_begin_behind_the_key() {
        let line = args("HSET k a 1 b 2");
        let pairs: Vec<_> = given_pairs(line.args()).collect();
        assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b", b"2")]);
    }
}
