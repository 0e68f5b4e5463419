//! Whole databases: DBSIZE, FLUSHDB, FLUSHALL, SWAPDB.
//!
//! The last three change the map from numbers to namespaces and nothing else, alone in the keyspace (`Flag::Gate`); the rows of an
//! emptied database are cleared away later, so SYNC and ASYNC are one thing here.

use crate::base::number::parse_i64;
use crate::dispatch::spec::Flag::{Fast, Gate, ReadOnly, Write};
use crate::dispatch::spec::{Category, Group, family};
use crate::dispatch::{Call, Command};
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::{Args, Reply};

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("dbsize", dbsize)
        .arity(1)
        .flags(&[ReadOnly, Fast])
        .group(Group::Server)
        .acl(&[Category::Keyspace])
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .since("1.0.0")
        .summary("Counts the keys of the database."),
    Command::new("flushall", flushall)
        .arity(-1)
        .flags(&[Write, Gate])
        .group(Group::Server)
        .acl(&[Category::Keyspace, Category::Dangerous])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Empties all databases.")
        .syntax("[flush-type<ASYNC^4.0.0 | SYNC^6.2.0>]"),
    Command::new("flushdb", flushdb)
        .arity(-1)
        .flags(&[Write, Gate])
        .group(Group::Server)
        .acl(&[Category::Keyspace, Category::Dangerous])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Empties the selected database.")
        .syntax("[flush-type<ASYNC^4.0.0 | SYNC^6.2.0>]"),
    Command::new("swapdb", swapdb)
        .arity(3)
        .flags(&[Write, Fast, Gate])
        .group(Group::Server)
        .acl(&[Category::Keyspace, Category::Dangerous])
        .since("4.0.0")
        .complexity("O(N)")
        .summary("Exchanges two databases.")
        .syntax("index1:int index2:int"),
]);

/// Reads a 32-bit integer as Redis does: two errors, one for what is no integer, one for what is too large.
pub(super) fn int32(word: &[u8]) -> Outcome<i32> {
    let number = parse_i64(word).ok_or(Error::NotInteger)?;
    match i32::try_from(number) {
        Ok(number) => Ok(number),
        Err(_) => fail("ERR value is out of range, value must between -2147483648 and 2147483647"),
    }
}

/// Reads the number of a database that there is.
pub(super) fn database_number(call: &Call<'_>, word: &[u8]) -> Outcome<u32> {
    existing(call, int32(word)?)
}

fn existing(call: &Call<'_>, number: i32) -> Outcome<u32> {
    match u32::try_from(number) {
        Ok(number) if number < call.txn.database_count() => Ok(number),
        _ => fail("ERR DB index is out of range"),
    }
}

fn dbsize(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.txn.saw_everything();
    let size = call.txn.database_size(call.database)?;
    reply.integer(i64::try_from(size).unwrap_or(i64::MAX));
    Ok(())
}

/// Nothing, SYNC or ASYNC.
fn check_flush_type(args: Args<'_>) -> Outcome {
    let word = args.at(1);
    let known = word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async");
    match args.len() {
        1 => Ok(()),
        2 if known => Ok(()),
        _ => Err(Error::Syntax.into()),
    }
}

fn flushdb(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    check_flush_type(call.args)?;
    call.txn.flush_database(call.database)?;
    call.txn.make_caches_forget();
    reply.ok();
    Ok(())
}

fn flushall(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    check_flush_type(call.args)?;
    for number in 0..call.txn.database_count() {
        // An empty database needs no new namespace.
        if call.txn.database_size(number)? > 0 {
            call.txn.flush_database(number)?;
        }
    }
    call.txn.make_caches_forget();
    reply.ok();
    Ok(())
}

fn swapdb(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Ok(first) = int32(call.args.at(1)) else { return fail("ERR invalid first DB index") };
    let Ok(second) = int32(call.args.at(2)) else { return fail("ERR invalid second DB index") };
    let (first, second) = (existing(call, first)?, existing(call, second)?);
    call.txn.swap_databases(first, second)?;
    reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Stop;
    use crate::resp::OwnedArgs;

    #[test]
    fn an_integer_that_is_too_large_has_an_error_of_its_own() {
        let said = |word: &[u8]| match int32(word) {
            Err(Stop::Error(error)) => error.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(said(b"-2147483648"), "Ok(-2147483648)");
        assert_eq!(said(b"x"), "ERR value is not an integer or out of range");
        let too_large = "ERR value is out of range, value must between -2147483648 and 2147483647";
        assert_eq!(said(b"2147483648"), too_large);
    }

    #[test]
    fn a_flush_is_sync_or_async_and_nothing_else() {
        let takes = |words: &[&[u8]]| check_flush_type(OwnedArgs::from_slices(words).args()).is_ok();
        assert!(takes(&[b"flushdb"]) && takes(&[b"flushdb", b"ASYNC"]) && takes(&[b"flushdb", b"sync"]));
        assert!(!takes(&[b"flushdb", b"foo"]) && !takes(&[b"flushdb", b"sync", b"async"]));
    }
}
