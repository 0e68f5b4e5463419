//! Streams: adding, reading by id, removing, trimming. Reading what comes, for oneself or a group, is in `read`, consumer groups in
//! `group`, what is known of a stream in `info`; how streams are kept in `types::stream`.

mod group;
mod info;
mod options;
mod read;

use crate::base::number::parse_i64;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{Blocking, DenyOom, Exclusive, Fast, Loading, ReadOnly, Stale, Write};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::keyspace::events::Events;
use crate::keyspace::{Direction, Error, Outcome, fail};
use crate::resp::Reply;
use crate::types::stream::{self, Entry, Id, Stream, visit};
use group::{
    xack, xackdel, xautoclaim, xclaim, xdelex, xgroup_create, xgroup_createconsumer, xgroup_delconsumer,
    xgroup_destroy, xgroup_help, xgroup_setid, xpending,
};
use info::{xinfo_consumers, xinfo_groups, xinfo_help, xinfo_stream};
use options::{AddId, Interval, parse_add, parse_interval, parse_strict, parse_trim};
use read::{xread, xreadgroup};
use std::ops::ControlFlow;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("xack", xack)
        .arity(-4)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::Stream)
        .since("5.0.0")
        .complexity("O(1) for each id")
        .summary("Marks messages of a group as done.")
        .syntax("key@0 group id..."),
    Command::new("xackdel", xackdel)
        .arity(-6)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).update().delete()])
        .group(Group::Stream)
        .since("8.2.0")
        .complexity("O(1) for each id")
        .summary("Marks messages of a group as done and removes them.")
        .syntax("key@0 group [condition<KEEPREF | DELREF | ACKED>] IDS ids(numids:int id...)"),
    Command::new("xadd", xadd)
        .arity(-5)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).update().note("More than an insert: it may trim the stream")])
        .group(Group::Stream)
        .tips(&["nondeterministic_output"])
        .since("5.0.0")
        .complexity("O(1), O(N) to trim N messages")
        .summary("Adds a message to a stream, which may be missing.")
        .syntax(
            "key@0 [NOMKSTREAM^6.2.0] [condition<KEEPREF | DELREF | ACKED>] [trim(strategy<MAXLEN | \
             MINID^6.2.0> [operator<equal='=' | approximately='~'>] threshold [LIMIT count:int^6.2.0])] \
             id-selector<auto-id='*' | id> data(field value)...",
        ),
    Command::new("xautoclaim", xautoclaim)
        .arity(-6)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::Stream)
        .tips(&["nondeterministic_output"])
        .since("6.2.0")
        .complexity("O(1) if the count is small")
        .summary("Takes over messages that another consumer left lying, going step by step.")
        .syntax("key@0 group consumer min-idle-time start [COUNT count:int] [JUSTID]"),
    Command::new("xclaim", xclaim)
        .arity(-6)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::Stream)
        .tips(&["nondeterministic_output"])
        .since("5.0.0")
        .complexity("O(log N)")
        .summary("Takes over messages of another consumer.")
        .syntax(
            "key@0 group consumer min-idle-time id... [IDLE ms:int] [TIME unix-time-milliseconds:time] \
             [RETRYCOUNT count:int] [FORCE] [JUSTID] [LASTID lastid]",
        ),
    Command::new("xdel", xdel)
        .arity(-3)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::Stream)
        .since("5.0.0")
        .complexity("O(1) for each id")
        .summary("Removes messages of a stream.")
        .syntax("key@0 id..."),
    Command::new("xdelex", xdelex)
        .arity(-5)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::Stream)
        .since("8.2.0")
        .complexity("O(1) for each id")
        .summary("Removes messages of a stream, with a choice of what groups keep.")
        .syntax("key@0 [condition<KEEPREF | DELREF | ACKED>] IDS ids(numids:int id...)"),
    Command::container("xgroup", XGROUP_SUBCOMMANDS)
        .group(Group::Stream)
        .since("5.0.0")
        .summary("Consumer groups of a stream."),
    Command::container("xinfo", XINFO_SUBCOMMANDS)
        .group(Group::Stream)
        .since("5.0.0")
        .summary("What is known of a stream and its groups."),
    Command::new("xlen", xlen)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1)])
        .group(Group::Stream)
        .since("5.0.0")
        .summary("Counts the messages of a stream.")
        .syntax("key@0"),
    Command::new("xpending", xpending)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Stream)
        .tips(&["nondeterministic_output"])
        .since("5.0.0")
        .complexity("O(N)")
        .summary("Lists the messages a group was given and has not marked as done.")
        .syntax("key@0 group [filters([IDLE min-idle-time:int^6.2.0] start end count:int [consumer])]"),
    Command::new("xrange", xrange)
        .arity(-4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Stream)
        .since("5.0.0")
        .complexity("O(N)")
        .summary("Reads the messages between two ids.")
        .syntax("key@0 start end [COUNT count:int]"),
    Command::new("xread", xread)
        .arity(-4)
        .flags(&[ReadOnly, Blocking])
        .keys(&[KeySpec::ro(1).after("STREAMS").to(-1).limit(2).access()])
        .group(Group::Stream)
        .since("5.0.0")
        .complexity("")
        .summary("Reads what came after given ids, in several streams, and may wait for it.")
        .syntax("[COUNT count:int] [BLOCK milliseconds:int] STREAMS streams(key@0... id...)"),
    Command::new("xreadgroup", xreadgroup)
        .arity(-7)
        .flags(&[Write, Blocking, Exclusive])
        .keys(&[KeySpec::ro(4).after("STREAMS").to(-1).limit(2).access()])
        .group(Group::Stream)
        .since("5.0.0")
        .complexity("O(M), M the messages read")
        .summary("Reads messages for a consumer of a group, and may wait for them.")
        .syntax(
            "GROUP group-block(group consumer) [COUNT count:int] [BLOCK milliseconds:int] [NOACK] STREAMS \
             streams(key@0... id...)",
        ),
    Command::new("xrevrange", xrevrange)
        .arity(-4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::Stream)
        .since("5.0.0")
        .complexity("O(N)")
        .summary("Reads the messages between two ids, backwards.")
        .syntax("key@0 end start [COUNT count:int]"),
    Command::new("xsetid", xsetid)
        .arity(-3)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::Stream)
        .since("5.0.0")
        .summary("Sets a stream's last id.")
        .syntax("key@0 last-id [ENTRIESADDED entries-added:int^7.0.0] [MAXDELETEDID max-deleted-id^7.0.0]"),
    Command::new("xtrim", xtrim)
        .arity(-4)
        .flags(&[Write])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::Stream)
        .tips(&["nondeterministic_output"])
        .since("5.0.0")
        .complexity("O(N)")
        .summary("Removes the oldest messages of a stream.")
        .syntax(
            "key@0 trim(strategy<MAXLEN | MINID^6.2.0> [operator<equal='=' | approximately='~'>] threshold \
             [LIMIT count:int^6.2.0] [condition<KEEPREF | DELREF | ACKED>])",
        ),
]);

const XGROUP_SUBCOMMANDS: &[Command] = &[
    Command::new("create", xgroup_create)
        .arity(-5)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::rw(2).insert()])
        .group(Group::Stream)
        .since("5.0.0")
        .summary("Makes a group.")
        .syntax(
            "key@0 group id-selector<id | new-id='$'> [MKSTREAM] [ENTRIESREAD entriesread/entries-read:int]",
        ),
    Command::new("createconsumer", xgroup_createconsumer)
        .arity(5)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::rw(2).insert()])
        .group(Group::Stream)
        .since("6.2.0")
        .summary("Makes a consumer of a group.")
        .syntax("key@0 group consumer"),
    Command::new("delconsumer", xgroup_delconsumer)
        .arity(5)
        .flags(&[Write])
        .keys(&[KeySpec::rw(2).delete()])
        .group(Group::Stream)
        .since("5.0.0")
        .summary("Removes a consumer of a group.")
        .syntax("key@0 group consumer"),
    Command::new("destroy", xgroup_destroy)
        .arity(4)
        .flags(&[Write])
        .keys(&[KeySpec::rw(2).delete()])
        .group(Group::Stream)
        .since("5.0.0")
        .complexity("O(N)")
        .summary("Removes a group.")
        .syntax("key@0 group"),
    Command::new("help", xgroup_help)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::Stream)
        .since("5.0.0")
        .summary("Lists what XGROUP can do."),
    Command::new("setid", xgroup_setid)
        .arity(-5)
        .flags(&[Write])
        .keys(&[KeySpec::rw(2).update()])
        .group(Group::Stream)
        .since("5.0.0")
        .summary("Sets where a group goes on reading.")
        .syntax("key@0 group id-selector<id | new-id='$'> [ENTRIESREAD entriesread/entries-read:int]"),
];

const XINFO_SUBCOMMANDS: &[Command] = &[
    Command::new("consumers", xinfo_consumers)
        .arity(4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(2).access()])
        .group(Group::Stream)
        .tips(&["nondeterministic_output"])
        .since("5.0.0")
        .summary("Describes the consumers of a group.")
        .syntax("key@0 group"),
    Command::new("groups", xinfo_groups)
        .arity(3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(2).access()])
        .group(Group::Stream)
        .since("5.0.0")
        .summary("Describes the groups of a stream.")
        .syntax("key@0"),
    Command::new("help", xinfo_help)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::Stream)
        .since("5.0.0")
        .summary("Lists what XINFO can do."),
    Command::new("stream", xinfo_stream)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(2).access()])
        .group(Group::Stream)
        .since("5.0.0")
        .summary("Describes a stream.")
        .syntax("key@0 [full-block(FULL [COUNT count:int])]"),
];

/// The sum of an entry's fields and values may not be larger.
const ENTRY_BYTES_MAX: u64 = 1 << 30;

fn xadd(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let wanted = parse_add(call.args, call.txn.keyspace().tuning().stream_node_entries_max())?;
    let words = call.args.skip(wanted.fields_at);
    if words.len() < 2 || words.len() % 2 == 1 {
        return Err(Error::Arity("xadd".into()).into());
    }
    if wanted.id == AddId::Given(Id::MIN) {
        return fail("ERR The ID specified in XADD must be greater than 0-0");
    }
    let key = call.key(1);
    let mut stream = match stream::load(&mut call.txn, &key)? {
        Some(stream) => stream,
        None if !wanted.makes_stream => {
            reply.null();
            return Ok(());
        }
        None => Stream::new(&mut call.txn, &key),
    };
    if stream.last_id() == Id::MAX {
        return fail("ERR The stream has exhausted the last possible ID, unable to add more items");
    }
    let last = stream.last_id();
    let id = match wanted.id {
        AddId::Auto => stream.next_id(call.txn.now_ms()),
        AddId::Given(id) => Some(id),
        AddId::Millisecond(ms) if ms == last.ms => last.seq.checked_add(1).map(|seq| Id { ms, seq }),
        AddId::Millisecond(ms) => Some(Id { ms, seq: 0 }),
    };
    let Some(id) = id.filter(|&id| id > last) else {
        return fail("ERR The ID specified in XADD is equal or smaller than the target stream top item");
    };
    if words.iter().map(|word| word.len() as u64).sum::<u64>() > ENTRY_BYTES_MAX {
        return fail("ERR Elements are too large to be stored");
    }
    stream.add(&mut call.txn, &key, id, words.iter())?;
    if stream.extra().entries_added == 1 {
        // Its key is told of before what is in it.
        stream.save(&mut call.txn, &key)?;
    }
    write_id(reply, id);
    call.txn.note(Events::STREAM, "xadd", &key);
    if let Some(trim) = &wanted.trim
        && stream::trim(&mut call.txn, &key, &mut stream, trim)? > 0
    {
        call.txn.note(Events::STREAM, "xtrim", &key);
    }
    stream.save(&mut call.txn, &key)
}

fn xlen(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let stream = stream::load(&mut call.txn, &key)?;
    reply.integer(stream.map_or(0, |stream| stream.len()) as i64);
    Ok(())
}

fn xrange(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(call, reply, Direction::Up)
}

fn xrevrange(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(call, reply, Direction::Down)
}

fn range(call: &mut Call<'_>, reply: &mut Reply<'_>, direction: Direction) -> Outcome {
    let (start, end) = match direction {
        Direction::Up => (call.args.at(2), call.args.at(3)),
        Direction::Down => (call.args.at(3), call.args.at(2)),
    };
    let Interval { from, to } = parse_interval(start, end)?;
    let mut count = None;
    let mut options = call.args.skip(4).iter();
    while let Some(option) = options.next() {
        match options.next() {
            Some(number) if option.eq_ignore_ascii_case(b"count") => {
                count = Some(parse_i64(number).ok_or(Error::NotInteger)?);
            }
            _ => return Err(Error::Syntax.into()),
        }
    }
    let key = call.key(1);
    let Some(stream) = stream::load(&mut call.txn, &key)? else {
        reply.array(0);
        return Ok(());
    };
    let count_max = match count {
        None => u64::MAX,
        Some(..=0) => {
            reply.null_array();
            return Ok(());
        }
        Some(count) => count.unsigned_abs(),
    };
    write_entries(call, reply, &stream, (from, to), direction, count_max)
}

/// Writes the entries between two ids, both included, at most so many, as an array.
fn write_entries(
    call: &mut Call<'_>,
    reply: &mut Reply<'_>,
    stream: &Stream,
    between: (Id, Id),
    direction: Direction,
    count_max: u64,
) -> Outcome {
    let mark = reply.deferred_array();
    let mut count = 0;
    if count_max > 0 {
        visit(&mut call.txn, stream, between, direction, |id, entry| {
            write_entry(reply, id, &entry)?;
            count += 1;
            Ok(if count == count_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    reply.fill_array(mark, count as usize);
    Ok(())
}

/// An entry: its id, then its fields and values.
fn write_entry(reply: &mut Reply<'_>, id: Id, entry: &Entry<'_>) -> Outcome {
    reply.array(2);
    write_id(reply, id);
    let mark = reply.deferred_array();
    let mut count = 0;
    for word in entry.words() {
        reply.bulk(word?);
        count += 1;
    }
    reply.fill_array(mark, count);
    Ok(())
}

fn write_id(reply: &mut Reply<'_>, id: Id) {
    reply.bulk_str(&id.to_string());
}

fn xdel(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let Some(mut stream) = stream::load(&mut call.txn, &key)? else {
        reply.integer(0);
        return Ok(());
    };
    let ids = call.args.skip(2).iter().map(parse_strict).collect::<Outcome<Vec<Id>>>()?;
    let deleted = stream.delete(&mut call.txn, &key, &ids)?;
    if deleted > 0 {
        stream.save(&mut call.txn, &key)?;
        call.txn.note(Events::STREAM, "xdel", &key);
    }
    reply.integer(deleted as i64);
    Ok(())
}

fn xtrim(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let trim = parse_trim(call.args, call.txn.keyspace().tuning().stream_node_entries_max())?;
    let key = call.key(1);
    let Some(mut stream) = stream::load(&mut call.txn, &key)? else {
        reply.integer(0);
        return Ok(());
    };
    let known = stream.extra().front;
    let trimmed = stream::trim(&mut call.txn, &key, &mut stream, &trim)?;
    if trimmed > 0 {
        stream.save(&mut call.txn, &key)?;
        call.txn.note(Events::STREAM, "xtrim", &key);
    } else if stream.extra().front != known {
        // What was counted now need not be counted again by every trim until the node may go.
        stream.save(&mut call.txn, &key)?;
        call.txn.unmark_changed(&key);
    }
    reply.integer(trimmed as i64);
    Ok(())
}

fn xsetid(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let id = parse_strict(call.args.at(2))?;
    let (mut entries_added, mut deleted_id_max) = (None, None);
    let mut options = call.args.skip(3).iter();
    while let Some(option) = options.next() {
        match options.next() {
            Some(number) if option.eq_ignore_ascii_case(b"entriesadded") => {
                let number = parse_i64(number).ok_or(Error::NotInteger)?;
                let Ok(number) = u64::try_from(number) else {
                    return fail("ERR entries_added must be positive");
                };
                entries_added = Some(number);
            }
            Some(deleted) if option.eq_ignore_ascii_case(b"maxdeletedid") => {
                let deleted = parse_strict(deleted)?;
                if id < deleted {
                    return fail(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                    );
                }
                deleted_id_max = Some(deleted).filter(|&id| id != Id::MIN);
            }
            _ => return Err(Error::Syntax.into()),
        }
    }
    let key = call.key(1);
    let Some(mut stream) = stream::load(&mut call.txn, &key)? else {
        return Err(Error::NoSuchKey.into());
    };
    if id < stream.extra().deleted_id_max {
        return fail("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
    }
    if let Some((top, _)) = stream::edge(&mut call.txn, &stream, Direction::Down)? {
        if id < top {
            return fail("ERR The ID specified in XSETID is smaller than the target stream top item");
        }
        if entries_added.is_some_and(|added| added < stream.len()) {
            return fail(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            );
        }
    }
    stream.set_ids(&mut call.txn, &key, id, entries_added, deleted_id_max)?;
    stream.save(&mut call.txn, &key)?;
    call.txn.note(Events::STREAM, "xsetid", &key);
    reply.ok();
    Ok(())
}
