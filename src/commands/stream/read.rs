//! XREAD: what came after given ids, in several streams; it may wait for it.
//!
//! A run that finds nothing ends with `Stop::Wait`, and runs again when one of its streams was added to. `$` and `+` mean what they
//! meant when the command came first, so such words are replaced for the runs to come. Readers take nothing from one
//! another: all of them are woken at once.

use super::options::parse_strict;
use super::write_entries;
use crate::base::number::parse_i64;
use crate::dispatch::Call;
use crate::encoding::head::DataType;
use crate::keyspace::{Direction, Error, Outcome, Stop, TimeoutReply, Wait, fail};
use crate::resp::{Args, Proto, Reply};
use crate::types::stream::{self, Id, Stream, edge};
use crate::waiters::Service;

/// What a read was asked.
pub(super) struct Reading {
    /// 0: no bound.
    count: u64,
    /// When it stops waiting, if it waits at all; the inner none: never.
    block: Option<Option<u64>>,
    /// The argument of the first key.
    keys_at: usize,
    /// How many keys, and how many ids behind them.
    keys: usize,
}

fn deadline_ms(text: &[u8], now_ms: u64) -> Outcome<Option<u64>> {
    let Some(wait_ms) = parse_i64(text) else {
        return fail("ERR timeout is not an integer or out of range");
    };
    match u64::try_from(wait_ms) {
        Ok(0) => Ok(None),
        Ok(wait_ms) => match wait_ms.checked_add(now_ms).filter(|&at_ms| i64::try_from(at_ms).is_ok()) {
            Some(at_ms) => Ok(Some(at_ms)),
            None => fail("ERR timeout is out of range"),
        },
        Err(_) => fail("ERR timeout is negative"),
    }
}

fn parse(args: Args<'_>, now_ms: u64) -> Outcome<Reading> {
    let mut reading = Reading { count: 0, block: None, keys_at: 0, keys: 0 };
    let mut at = 1;
    while let Some(word) = args.get(at) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let more = args.len() - at - 1;
        if more > 0 && is("block") {
            reading.block = Some(deadline_ms(args.at(at + 1), now_ms)?);
            at += 2;
        } else if more > 0 && is("count") {
            let count = parse_i64(args.at(at + 1)).ok_or(Error::NotInteger)?;
            reading.count = u64::try_from(count).unwrap_or(0);
            at += 2;
        } else if more > 0 && is("streams") {
            if more % 2 != 0 {
                return fail(
                    "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be \
                     specified.",
                );
            }
            (reading.keys_at, reading.keys) = (at + 1, more / 2);
            return Ok(reading);
        } else if more > 1 && is("group") {
            return fail("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.");
        } else if is("noack") {
            return fail("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.");
        } else {
            break;
        }
    }
    Err(Error::Syntax.into())
}

/// A stream to be read, and behind which id.
struct Source {
    /// The argument of its key.
    key_at: usize,
    stream: Option<Stream>,
    behind: Id,
    /// At most so many entries; 0: no bound.
    count: u64,
}

pub(super) fn xread(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let reading = parse(call.args, call.txn.now_ms())?;
    call.txn.expect_work(reading.keys as u64)?;
    let mut sources = Vec::with_capacity(reading.keys);
    let mut rewrites = Vec::new();
    for key_at in reading.keys_at..reading.keys_at + reading.keys {
        let key = call.key(key_at);
        let stream = stream::load(&mut call.txn, &key)?;
        let id_at = key_at + reading.keys;
        let last_id = stream.as_ref().map_or(Id::MIN, Stream::last_id);
        let mut count = reading.count;
        let behind = match call.args.at(id_at) {
            b"$" => {
                rewrites.push((id_at, last_id));
                last_id
            }
            b"+" => {
                rewrites.push((id_at, last_id));
                count = 1;
                match &stream {
                    Some(stream) => match edge(&mut call.txn, stream, Direction::Down)? {
                        Some((last, _)) => last.previous().unwrap_or(Id::MIN),
                        None => last_id,
                    },
                    None => Id::MIN,
                }
            }
            b">" => {
                return fail(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
                     <consumer> option.",
                );
            }
            word => parse_strict(word)?,
        };
        sources.push(Source { key_at, stream, behind, count });
    }
    let mark = reply.deferred_array();
    let mut read = 0;
    for source in &sources {
        read += usize::from(read_source(call, reply, source)?);
    }
    if read > 0 {
        match reply.proto() {
            Proto::Resp2 => reply.fill_array(mark, read),
            Proto::Resp3 => reply.fill_map(mark, read),
        }
        return Ok(());
    }
    reply.fill_array(mark, 0);
    reply.truncate(0);
    match reading.block {
        Some(deadline_ms) if !call.in_exec => Err(Stop::Wait(Wait {
            wants: DataType::Stream,
            deadline_ms,
            on_timeout: TimeoutReply::NullArray,
            keys: sources.iter().map(|source| source.key_at).collect(),
            service: Service::Reads,
            rewrites: rewrites.into_iter().map(|(at, id)| (at, id.to_string().into_bytes())).collect(),
        })),
        _ => {
            reply.null_array();
            Ok(())
        }
    }
}

/// Writes a stream's name and what came behind an id, if there is any. True if so.
fn read_source(call: &mut Call<'_>, reply: &mut Reply<'_>, source: &Source) -> Outcome<bool> {
    let Some(stream) = &source.stream else { return Ok(false) };
    let Some(from) = source.behind.next() else { return Ok(false) };
    if stream.is_empty() || from > stream.last_id() {
        return Ok(false);
    }
    let start = reply.len();
    if reply.proto() == Proto::Resp2 {
        reply.array(2);
    }
    reply.bulk(call.args.at(source.key_at));
    let before = reply.len();
    let count_max = if source.count == 0 { u64::MAX } else { source.count };
    write_entries(call, reply, stream, (from, Id::MAX), Direction::Up, count_max)?;
    // "*0": what lies behind was removed.
    if reply.len() - before == 4 {
        reply.truncate(start);
        return Ok(false);
    }
    Ok(true)
}
