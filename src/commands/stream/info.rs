//! XINFO: what is known of a stream, its groups and their consumers.

use super::group::no_group_of_key;
use super::{write_entry, write_id};
use crate::base::number::parse_i64;
use crate::dispatch::{Call, docs};
use crate::keyspace::{Direction, Error, Outcome, fail};
use crate::resp::Reply;
use crate::types::stream::groups::{self, Group, OpenGroup};
use crate::types::stream::{self, Entry, Id, Stream, edge, node_count};
use std::ops::ControlFlow;

/// Entries shown by FULL without COUNT.
const FULL_COUNT: u64 = 10;

pub(super) fn xinfo_help(_: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "xinfo", super::XINFO_SUBCOMMANDS);
    Ok(())
}

/// How many entries FULL shows, 0 for all; none without FULL.
fn parse_full(call: &Call<'_>) -> Outcome<Option<u64>> {
    let options = call.args.skip(3);
    let is = |at: usize, name: &str| {
        options.get(at).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    match options.len() {
        0 => Ok(None),
        1 if is(0, "full") => Ok(Some(FULL_COUNT)),
        3 if is(0, "full") && is(1, "count") => {
            let count = parse_i64(options.at(2)).ok_or(Error::NotInteger)?;
            Ok(Some(u64::try_from(count).unwrap_or(FULL_COUNT)))
        }
        _ => fail("ERR unknown subcommand or wrong number of arguments for 'stream'. Try XINFO HELP."),
    }
}

pub(super) fn xinfo_stream(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(2);
    let Some(stream) = stream::load(&mut call.txn, &key)? else { return Err(Error::NoSuchKey.into()) };
    let full = parse_full(call)?;
    reply.map(if full.is_some() { 9 } else { 10 });
    let integer = |reply: &mut Reply<'_>, name: &str, number: u64| {
        reply.bulk_str(name);
        reply.integer(number as i64);
    };
    let nodes = node_count(&mut call.txn, &stream)?;
    let extra = *stream.extra();
    integer(reply, "length", stream.len());
    integer(reply, "radix-tree-keys", nodes);
    integer(reply, "radix-tree-nodes", nodes + 1);
    for (name, id) in [("last-generated-id", extra.last_id), ("max-deleted-entry-id", extra.deleted_id_max)] {
        reply.bulk_str(name);
        write_id(reply, id);
    }
    integer(reply, "entries-added", extra.entries_added);
    reply.bulk_str("recorded-first-entry-id");
    write_id(reply, extra.first_id);
    match full {
        None => write_summary(call, reply, &stream),
        Some(count) => write_full(call, reply, &stream, count),
    }
}

fn write_summary(call: &mut Call<'_>, reply: &mut Reply<'_>, stream: &Stream) -> Outcome {
    reply.bulk_str("groups");
    reply.integer(i64::from(stream.extra().groups));
    for (name, from) in [("first-entry", Direction::Up), ("last-entry", Direction::Down)] {
        reply.bulk_str(name);
        match edge(&mut call.txn, stream, from)? {
            Some((id, packed)) => write_entry(reply, id, &Entry { node: 0, packed: &packed })?,
            None => reply.null(),
        }
    }
    Ok(())
}

fn write_full(call: &mut Call<'_>, reply: &mut Reply<'_>, stream: &Stream, count: u64) -> Outcome {
    let count_max = if count == 0 { u64::MAX } else { count };
    reply.bulk_str("entries");
    super::write_entries(call, reply, stream, (Id::MIN, Id::MAX), Direction::Up, count_max)?;
    reply.bulk_str("groups");
    let groups = groups::all(&mut call.txn, stream)?;
    reply.array(groups.len());
    for group in groups {
        reply.map(7);
        write_name(reply, &group.name);
        reply.bulk_str("last-delivered-id");
        write_id(reply, group.row.last_id);
        write_progress(reply, stream, &group);
        reply.bulk_str("pel-count");
        reply.integer(group.row.pending as i64);
        reply.bulk_str("pending");
        let consumers = groups::consumers(&mut call.txn, stream, &group)?;
        let mut open = OpenGroup::of(group);
        write_pending(call, reply, stream, &open, count_max)?;
        reply.bulk_str("consumers");
        reply.array(consumers.len());
        for consumer in consumers {
            reply.map(5);
            write_name(reply, &consumer.name);
            reply.bulk_str("seen-time");
            reply.integer(consumer.row.seen_at_ms as i64);
            reply.bulk_str("active-time");
            reply.integer(consumer.row.active_at_ms.map_or(-1, |at_ms| at_ms as i64));
            reply.bulk_str("pel-count");
            reply.integer(consumer.row.pending as i64);
            reply.bulk_str("pending");
            write_owned(call, reply, stream, &mut open, (&consumer.name, count_max))?;
        }
    }
    Ok(())
}

/// The first pending entries of a group.
fn write_pending(
    call: &mut Call<'_>,
    reply: &mut Reply<'_>,
    stream: &Stream,
    open: &OpenGroup,
    count_max: u64,
) -> Outcome {
    let mark = reply.deferred_array();
    let mut count = 0;
    open.visit_pending(&mut call.txn, stream, (Id::MIN, Id::MAX), |pending| {
        reply.array(4);
        write_id(reply, pending.id);
        reply.bulk(&pending.consumer);
        reply.integer(pending.delivered_at_ms as i64);
        reply.integer(pending.deliveries as i64);
        count += 1;
        Ok(if count == count_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    reply.fill_array(mark, count as usize);
    Ok(())
}

/// The first pending entries of a consumer.
fn write_owned(
    call: &mut Call<'_>,
    reply: &mut Reply<'_>,
    stream: &Stream,
    open: &mut OpenGroup,
    (name, count_max): (&[u8], u64),
) -> Outcome {
    let mark = reply.deferred_array();
    let mut count = 0;
    for id in open.owned(&mut call.txn, stream, name, Id::MIN, count_max)? {
        if let Some(pending) = open.pending(&mut call.txn, stream, id)? {
            reply.array(3);
            write_id(reply, id);
            reply.integer(pending.delivered_at_ms as i64);
            reply.integer(pending.deliveries as i64);
            count += 1;
        }
    }
    reply.fill_array(mark, count);
    Ok(())
}

fn write_name(reply: &mut Reply<'_>, name: &[u8]) {
    reply.bulk_str("name");
    reply.bulk(name);
}

/// How far a group has come: entries read, and those still to be read.
fn write_progress(reply: &mut Reply<'_>, stream: &Stream, group: &Group) {
    let read = group.row.entries_read.map(|read| read as i64);
    for (name, number) in [("entries-read", read), ("lag", stream.lag(&group.row))] {
        reply.bulk_str(name);
        match number {
            Some(number) => reply.integer(number),
            None => reply.null(),
        }
    }
}

pub(super) fn xinfo_groups(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(2);
    let Some(stream) = stream::load(&mut call.txn, &key)? else { return Err(Error::NoSuchKey.into()) };
    let groups = groups::all(&mut call.txn, &stream)?;
    reply.array(groups.len());
    for group in groups {
        reply.map(6);
        write_name(reply, &group.name);
        reply.bulk_str("consumers");
        reply.integer(group.row.consumers.into());
        reply.bulk_str("pending");
        reply.integer(group.row.pending as i64);
        reply.bulk_str("last-delivered-id");
        write_id(reply, group.row.last_id);
        write_progress(reply, &stream, &group);
    }
    Ok(())
}

pub(super) fn xinfo_consumers(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(2);
    let Some(stream) = stream::load(&mut call.txn, &key)? else { return Err(Error::NoSuchKey.into()) };
    let name = call.args.at(3);
    let Some(open) = OpenGroup::load(&mut call.txn, &stream, name)? else {
        return Err(no_group_of_key(call));
    };
    let consumers = groups::consumers(&mut call.txn, &stream, open.group())?;
    let now_ms = call.txn.now_ms();
    reply.array(consumers.len());
    for consumer in consumers {
        let idle_ms = |at_ms: u64| now_ms.saturating_sub(at_ms) as i64;
        reply.map(4);
        write_name(reply, &consumer.name);
        reply.bulk_str("pending");
        reply.integer(consumer.row.pending as i64);
        reply.bulk_str("idle");
        reply.integer(idle_ms(consumer.row.seen_at_ms));
        reply.bulk_str("inactive");
        reply.integer(consumer.row.active_at_ms.map_or(-1, idle_ms));
    }
    Ok(())
}
