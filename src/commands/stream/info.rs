//! XINFO: what is known of a stream.

use super::{write_entry, write_id};
use crate::base::number::parse_i64;
use crate::dispatch::{Call, docs};
use crate::keyspace::{Direction, Error, Outcome, fail};
use crate::resp::Reply;
use crate::types::stream::{self, Entry, Stream, edge, node_count};

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
    for (name, id) in
        [("last-generated-id", extra.last_id), ("max-deleted-entry-id", extra.deleted_id_max)]
    {
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
    let all = (crate::types::stream::Id::MIN, crate::types::stream::Id::MAX);
    super::write_entries(call, reply, stream, all, Direction::Up, count_max)?;
    reply.bulk_str("groups");
    reply.array(0);
    Ok(())
}
