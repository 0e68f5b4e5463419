//! Going through the keys: KEYS, SCAN, RANDOMKEY. The walk itself is in `types::scan`.
//!
//! No key is locked: a reply waits until all that was committed before is safe (`Txn::saw_everything`).

use crate::base::glob::glob_match;
use crate::base::number::{parse_i64, parse_u64_loose};
use crate::dispatch::spec::Flag::{Heavy, ReadOnly};
use crate::dispatch::spec::{Category, Group, family};
use crate::dispatch::{Call, Command};
use crate::encoding::head::DataType;
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::{Args, Reply};
use crate::types::scan as keys_in_order;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("keys", keys)
        .arity(2)
        .flags(&[ReadOnly, Heavy])
        .group(Group::Generic)
        .acl(&[Category::Keyspace, Category::Dangerous])
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .since("1.0.0")
        .complexity("O(N), N the keys of the database")
        .summary("Lists all keys whose names match.")
        .syntax("pattern:pattern"),
    Command::new("randomkey", randomkey)
        .arity(1)
        .flags(&[ReadOnly])
        .group(Group::Generic)
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"])
        .since("1.0.0")
        .summary("Picks a key by chance."),
    Command::new("scan", scan)
        .arity(-2)
        .flags(&[ReadOnly])
        .group(Group::Generic)
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .since("2.8.0")
        .complexity("O(1) a call, O(N) to the end")
        .summary("Goes through the keys step by step.")
        .syntax("cursor:int [MATCH pattern:pattern] [COUNT count:int] [TYPE type^6.0.0]"),
]);

/// Keys a page of SCAN goes through when the client does not say.
const PAGE_ROWS: u64 = 10;

fn keys(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let pattern = call.args.at(1);
    let all = pattern == b"*";
    let mut count = 0;
    let mark = reply.deferred_array();
    keys_in_order::for_each_key(&mut call.txn, call.database, |name, _| {
        if all || glob_match(pattern, name, false) {
            reply.bulk(name);
            count += 1;
        }
    })?;
    reply.fill_array(mark, count);
    Ok(())
}

fn randomkey(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    match keys_in_order::random_key(&mut call.txn, call.database)? {
        Some(name) => reply.bulk(&name),
        None => reply.null(),
    }
    Ok(())
}

/// What SCAN was asked for.
#[derive(Debug, PartialEq, Eq)]
struct ScanOptions<'a> {
    cursor: u64,
    rows: u64,
    /// None: every name.
    pattern: Option<&'a [u8]>,
    /// None: every type.
    type_name: Option<&'a [u8]>,
}

/// Reads SCAN's words, the cursor first.
fn scan_options(args: Args<'_>) -> Outcome<ScanOptions<'_>> {
    let Some(cursor) = parse_u64_loose(args.at(0)) else { return fail("ERR invalid cursor") };
    let mut options = ScanOptions { cursor, rows: PAGE_ROWS, pattern: None, type_name: None };
    let mut words = args.skip(1).iter();
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"novalues") {
            return fail("ERR NOVALUES option can only be used in HSCAN");
        }
        let Some(value) = words.next() else { return Err(Error::Syntax.into()) };
        match word.to_ascii_lowercase().as_slice() {
            b"count" => {
                let rows = parse_i64(value).ok_or(Error::NotInteger)?;
                options.rows = u64::try_from(rows).ok().filter(|&rows| rows > 0).ok_or(Error::Syntax)?;
            }
            b"match" => options.pattern = (value != b"*").then_some(value),
            b"type" => options.type_name = Some(value),
            _ => return Err(Error::Syntax.into()),
        }
    }
    Ok(options)
}

impl ScanOptions<'_> {
    fn wants(&self, name: &[u8], data_type: DataType) -> bool {
        self.type_name.is_none_or(|wanted| wanted.eq_ignore_ascii_case(data_type.name().as_bytes()))
            && self.pattern.is_none_or(|pattern| glob_match(pattern, name, false))
    }
}

fn scan(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = scan_options(call.args.skip(1))?;
    // The cursor stands before the names but is known after them.
    let mut written = call.txn.take_buffer();
    let mut names = Reply::new(&mut written, reply.proto());
    let mut count = 0;
    let next = keys_in_order::page(
        &mut call.txn,
        call.database,
        options.cursor,
        options.rows,
        |name, data_type| {
            if options.wants(name, data_type) {
                names.bulk(name);
                count += 1;
            }
        },
    )?;
    reply.array(2);
    reply.bulk_str(&next.to_string());
    reply.array(count);
    reply.raw(&written);
    call.txn.return_buffer(written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Stop;
    use crate::resp::OwnedArgs;

    fn check(words: &[&[u8]], expected: Result<ScanOptions<'_>, &str>) {
        let owned = OwnedArgs::from_slices(words);
        let said = scan_options(owned.args()).map_err(|stop| match stop {
            Stop::Error(error) => error.to_string(),
            other => format!("{other:?}"),
        });
        assert_eq!(said, expected.map_err(str::to_owned));
    }

    #[test]
    fn options_come_in_any_order_and_the_last_one_counts() {
        let plain = ScanOptions { cursor: 0, rows: 10, pattern: None, type_name: None };
        check(&[b"0"], Ok(plain));
        let all = ScanOptions { cursor: 7, rows: 3, pattern: Some(b"a*"), type_name: Some(b"hash") };
        check(
            &[b" 7", b"TYPE", b"hash", b"count", b"9", b"match", b"*", b"Count", b"3", b"MATCH", b"a*"],
            Ok(all),
        );
        check(
            &[b"18446744073709551615", b"match", b"a", b"match", b"*"],
            Ok(ScanOptions { cursor: u64::MAX, rows: 10, pattern: None, type_name: None }),
        );
    }

    #[test]
    fn wrong_words_are_refused_as_redis_refuses_them() {
        for cursor in [&b"x"[..], b"-1", b"", b"99999999999999999999999"] {
            check(&[cursor, b"foo"], Err("ERR invalid cursor"));
        }
        for words in
            [&[&b"0"[..], b"foo"][..], &[b"0", b"count"], &[b"0", b"count", b"0"], &[b"0", b"foo", b"bar"]]
        {
            check(words, Err("ERR syntax error"));
        }
        check(&[b"0", b"count", b"x"], Err("ERR value is not an integer or out of range"));
        check(&[b"0", b"novalues"], Err("ERR NOVALUES option can only be used in HSCAN"));
    }
}
