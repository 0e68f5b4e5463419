//! Keys, whatever their type: DEL, EXISTS, TYPE, RENAME, COPY, MOVE and their kin.
//!
//! The neighbours: `expire` (EXPIRE, TTL ...), `object` (OBJECT), `scan` (KEYS, SCAN, RANDOMKEY), `database` (DBSIZE, FLUSHALL
//! ...). What is done to the data is in `types::keys` and `types::copy`.

use super::database::database_number;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{DenyOom, Fast, ReadOnly, Write};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::encoding::head::DataType;
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Key, Outcome, fail};
use crate::resp::Reply;
use crate::types::{copy as copying, keys};

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("copy", copy)
        .arity(-3)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ro(1).access(), KeySpec::ow(2).update()])
        .group(Group::Generic)
        .since("6.2.0")
        .complexity("O(N)")
        .summary("Copies a value to another key.")
        .syntax("source@0 destination@1 [DB destination-db:int] [REPLACE]"),
    Command::new("del", del)
        .arity(-2)
        .flags(&[Write])
        .keys(&[KeySpec::rm(1).to(-1).delete()])
        .group(Group::Generic)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .since("1.0.0")
        .complexity("O(N), N the keys")
        .summary("Removes keys.")
        .syntax("key@0..."),
    Command::new("exists", exists)
        .arity(-2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).to(-1)])
        .group(Group::Generic)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Counts how many of the keys named exist.")
        .syntax("key@0..."),
    Command::new("move", move_key)
        .arity(3)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().update()])
        .group(Group::Generic)
        .since("1.0.0")
        .summary("Gives a key to another database.")
        .syntax("key@0 db:int"),
    Command::new("rename", rename)
        .arity(3)
        .flags(&[Write])
        .keys(&[KeySpec::rw(1).access().delete(), KeySpec::ow(2).update()])
        .group(Group::Generic)
        .since("1.0.0")
        .summary("Gives a value another key, in place of what was there.")
        .syntax("key@0 newkey@1"),
    Command::new("renamenx", renamenx)
        .arity(3)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().delete(), KeySpec::ow(2).insert()])
        .group(Group::Generic)
        .since("1.0.0")
        .summary("Gives a value another key unless that exists.")
        .syntax("key@0 newkey@1"),
    Command::new("touch", touch)
        .arity(-2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).to(-1)])
        .group(Group::Generic)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .since("3.2.1")
        .complexity("O(N)")
        .summary("Counts as a use of keys, and tells how many exist.")
        .syntax("key@0..."),
    Command::new("type", type_of)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1)])
        .group(Group::Generic)
        .since("1.0.0")
        .summary("Names the type of a value.")
        .syntax("key@0"),
    Command::new("unlink", del)
        .arity(-2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rm(1).to(-1).delete()])
        .group(Group::Generic)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .since("4.0.0")
        .complexity("O(N), N the keys")
        .summary("Removes keys and clears them away later.")
        .syntax("key@0..."),
]);

/// DEL and UNLINK: one thing here, for the rows of a removed value are always cleared away later.
fn del(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.txn.expect_work(call.args.len() as u64)?;
    let mut removed = 0;
    for index in 1..call.args.len() {
        let key = call.key(index);
        if call.txn.delete(&key)? {
            call.txn.note(Events::GENERIC, "del", &key);
            removed += 1;
        }
    }
    reply.integer(removed);
    Ok(())
}

fn exists(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.txn.set_quiet(true);
    count_existing(call, reply)
}

fn touch(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    // Counts as a use even under CLIENT NO-TOUCH.
    call.txn.set_quiet(false);
    count_existing(call, reply)
}

/// A key named twice counts twice.
fn count_existing(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.txn.expect_work(call.args.len() as u64)?;
    let mut existing = 0;
    for index in 1..call.args.len() {
        let key = call.key(index);
        existing += i64::from(call.txn.load(&key)?.is_some());
    }
    reply.integer(existing);
    Ok(())
}

fn type_of(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.txn.set_quiet(true);
    let key = call.key(1);
    reply.simple(call.txn.load(&key)?.map_or("none", |stored| stored.data_type().name()));
    Ok(())
}

fn rename(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (from, to) = (call.key(1), call.key(2));
    let before = call.txn.overwritten(&to)?;
    if keys::rename(&mut call.txn, &from, &to, false)? {
        note_rename(call, &from, &to, before)?;
    }
    reply.ok();
    Ok(())
}

fn renamenx(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (from, to) = (call.key(1), call.key(2));
    let renamed = keys::rename(&mut call.txn, &from, &to, true)?;
    if renamed {
        note_rename(call, &from, &to, None)?;
    }
    reply.integer(i64::from(renamed));
    Ok(())
}

/// Notes a renaming over a value of type `before`.
fn note_rename(call: &mut Call<'_>, from: &Key, to: &Key, before: Option<DataType>) -> Outcome {
    if from.row() != to.row() {
        call.txn.note(Events::GENERIC, "rename_from", from);
        call.txn.note(Events::GENERIC, "rename_to", to);
        note_replacement(call, to, before)?;
    }
    Ok(())
}

fn note_replacement(call: &mut Call<'_>, to: &Key, before: Option<DataType>) -> Outcome {
    if before.is_some()
        && let Some(now) = call.txn.overwritten(to)?
    {
        call.txn.note_overwritten(to, before, now);
    }
    Ok(())
}

const SAME_OBJECT: &str = "ERR source and destination objects are the same";

fn move_key(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let database = database_number(call, call.args.at(2))?;
    if database == call.database {
        return fail(SAME_OBJECT);
    }
    let (from, to) = (call.key(1), call.txn.key(database, call.args.at(1)));
    let moved = keys::move_key(&mut call.txn, &from, &to)?;
    if moved {
        call.txn.note(Events::GENERIC, "move_from", &from);
        call.txn.note(Events::GENERIC, "move_to", &to);
    }
    reply.integer(i64::from(moved));
    Ok(())
}

fn copy(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (mut database, mut replace) = (call.database, false);
    let mut options = call.args.skip(3).iter();
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"replace") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"db") {
            let Some(number) = options.next() else { return Err(Error::Syntax.into()) };
            database = database_number(call, number)?;
        } else {
            return Err(Error::Syntax.into());
        }
    }
    let (from, to) = (call.key(1), call.txn.key(database, call.args.at(2)));
    if from.row() == to.row() {
        return fail(SAME_OBJECT);
    }
    let before = call.txn.overwritten(&to)?;
    let copied = copying::copy(&mut call.txn, &from, &to, replace)?;
    if copied {
        call.txn.note(Events::GENERIC, "copy_to", &to);
        note_replacement(call, &to, before)?;
    }
    reply.integer(i64::from(copied));
    Ok(())
}
