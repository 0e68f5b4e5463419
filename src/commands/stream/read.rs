//! XREAD and XREADGROUP: what came after given ids, or what a group has not read, in several streams; they may wait for it.
//!
//! A run that finds nothing waits, and runs again when one of its streams was added to. `$` and `+` mean what they
//! meant when the command came first, so such words are replaced for the runs to come. Readers take nothing from one another: all of
//! them are woken at once. Of each group the first is, and the next when that one has left something.
//!
//! That a consumer was seen is written even if it has to wait, and changes nothing that others could be told of.

use super::options::parse_strict;
use super::{write_entries, write_entry, write_id};
use crate::base::hash::keyed_hash;
use crate::base::number::parse_i64;
use crate::dispatch::Call;
use crate::encoding::head::DataType;
use crate::keyspace::events::Events;
use crate::keyspace::{Direction, Error, Outcome, Stop, TimeoutReply, Wait, fail};
use crate::resp::{Args, Proto, Reply};
use crate::types::stream::groups::OpenGroup;
use crate::types::stream::{self, Entry, Id, Stream, deliver, edge};
use crate::waiters::Service;

/// What a read was asked.
struct Reading {
    /// 0: no bound.
    count: u64,
    /// When it stops waiting, if it waits at all; the inner none: never.
    block: Option<Option<u64>>,
    /// The argument of the first key.
    keys_at: usize,
    /// How many keys, and how many ids behind them.
    keys: usize,
    /// The arguments of group and consumer.
    group_at: Option<usize>,
    /// What is read does not become pending.
    noack: bool,
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

fn parse(args: Args<'_>, for_group: bool, now_ms: u64) -> Outcome<Reading> {
    let mut reading = Reading { count: 0, block: None, keys_at: 0, keys: 0, group_at: None, noack: false };
    let mut at = 1;
    loop {
        let Some(word) = args.get(at) else { return Err(Error::Syntax.into()) };
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
            if !more.is_multiple_of(2) {
                return fail(if for_group {
                    "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be \
                     specified."
                } else {
                    "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be \
                     specified."
                });
            }
            (reading.keys_at, reading.keys) = (at + 1, more / 2);
            break;
        } else if more > 1 && is("group") {
            if !for_group {
                return fail(
                    "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                );
            }
            reading.group_at = Some(at + 1);
            at += 3;
        } else if is("noack") {
            if !for_group {
                return fail(
                    "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                );
            }
            reading.noack = true;
            at += 1;
        } else {
            return Err(Error::Syntax.into());
        }
    }
    if for_group && reading.group_at.is_none() {
        return fail("ERR Missing GROUP option for XREADGROUP");
    }
    Ok(reading)
}

/// Writes one result for each stream that has one: an array of pairs, or a map. True if there was any.
fn write_results(
    call: &mut Call<'_>,
    reply: &mut Reply<'_>,
    count: usize,
    mut write: impl FnMut(&mut Call<'_>, &mut Reply<'_>, usize) -> Outcome<bool>,
) -> Outcome<bool> {
    let mark = reply.deferred_array();
    let mut written = 0;
    for index in 0..count {
        written += usize::from(write(call, reply, index)?);
    }
    if written == 0 {
        return Ok(false);
    }
    match reply.proto() {
        Proto::Resp2 => reply.fill_array(mark, written),
        Proto::Resp3 => reply.fill_map(mark, written),
    }
    Ok(true)
}

fn begin_result(reply: &mut Reply<'_>, name: &[u8]) {
    if reply.proto() == Proto::Resp2 {
        reply.array(2);
    }
    reply.bulk(name);
}

/// A stream to be read, and behind which id.
struct Source {
    stream: Option<Stream>,
    behind: Id,
    /// At most so many entries; 0: no bound.
    count: u64,
}

pub(super) fn xread(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let reading = parse(call.args, false, call.txn.now_ms())?;
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
        sources.push(Source { stream, behind, count });
    }
    let keys_at = reading.keys_at;
    let is_served = write_results(call, reply, sources.len(), |call, reply, index| {
        read_source(call, reply, keys_at + index, &sources[index])
    })?;
    if is_served {
        return Ok(());
    }
    match reading.block {
        Some(deadline_ms) if !call.in_exec => Err(Stop::Wait(Wait {
            wants: DataType::Stream,
            deadline_ms,
            on_timeout: TimeoutReply::NullArray,
            keys: (keys_at..keys_at + reading.keys).collect(),
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
fn read_source(call: &mut Call<'_>, reply: &mut Reply<'_>, key_at: usize, source: &Source) -> Outcome<bool> {
    let Some(stream) = &source.stream else {
        // As Redis does, which counts and tells a missing key twice.
        let key = call.key(key_at);
        stream::load(&mut call.txn, &key)?;
        return Ok(false);
    };
    call.txn.count_found();
    let Some(from) = source.behind.next() else { return Ok(false) };
    if stream.is_empty() || from > stream.last_id() {
        return Ok(false);
    }
    let start = reply.len();
    begin_result(reply, call.args.at(key_at));
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

/// A stream to be read for a group.
struct GroupSource {
    stream: Stream,
    open: OpenGroup,
    /// What is pending for the consumer behind this id; none: what is new.
    history: Option<Id>,
}

pub(super) fn xreadgroup(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let reading = parse(call.args, true, call.txn.now_ms())?;
    call.txn.expect_work(reading.keys as u64)?;
    let group_at = reading.group_at.unwrap_or_default();
    let (group, consumer) = (call.args.at(group_at), call.args.at(group_at + 1));
    // A key may stand there several times: its later source goes on with what the earlier one has left.
    let mut histories = Vec::with_capacity(reading.keys);
    for key_at in reading.keys_at..reading.keys_at + reading.keys {
        load_source(call, key_at, group)?;
        histories.push(match call.args.at(key_at + reading.keys) {
            b"$" => return fail(DOLLAR),
            b"+" => return fail(PLUS),
            b">" => None,
            word => Some(parse_strict(word)?).filter(|&id| id != Id::MAX),
        });
    }
    let keys_at = reading.keys_at;
    let is_served = write_results(call, reply, reading.keys, |call, reply, index| {
        let key_at = keys_at + index;
        let (stream, open) = load_source(call, key_at, group)?;
        let source = GroupSource { stream, open, history: histories[index] };
        read_for_group(call, reply, key_at, source, (consumer, &reading))
    })?;
    if is_served {
        return Ok(());
    }
    match reading.block {
        Some(deadline_ms) if !call.in_exec => {
            // It was seen, and that is all.
            (keys_at..keys_at + reading.keys).for_each(|key_at| {
                let key = call.key(key_at);
                call.txn.unmark_changed(&key);
            });
            call.wait = Some(Wait {
                wants: DataType::Stream,
                deadline_ms,
                on_timeout: TimeoutReply::NullArray,
                keys: (keys_at..keys_at + reading.keys).collect(),
                service: Service::Group(keyed_hash(&[0; 16], group)),
                rewrites: Vec::new(),
            });
            Ok(())
        }
        _ => {
            reply.null_array();
            Ok(())
        }
    }
}

const DOLLAR: &str = "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                      consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return \
                      an empty result set.";
const PLUS: &str = "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer \
                    by specifying a proper ID, or use the > ID to get new messages. The + ID would just return an empty \
                    result set.";

fn load_source(call: &mut Call<'_>, key_at: usize, group: &[u8]) -> Outcome<(Stream, OpenGroup)> {
    let key = call.key(key_at);
    if let Some(stream) = call.txn.counted(|txn| stream::load(txn, &key))?
        && let Some(open) = OpenGroup::load(&mut call.txn, &stream, group)?
    {
        return Ok((stream, open));
    }
    let key = super::group::shown(call.args.at(key_at));
    let text = [
        b"NOGROUP No such key '",
        key,
        b"' or consumer group '",
        super::group::shown(group),
        b"' in XREADGROUP with GROUP option",
    ]
    .concat();
    Err(Error::Bytes(text).into())
}

/// Writes a stream's name and what a consumer is given of it. False if there is nothing new.
fn read_for_group(
    call: &mut Call<'_>,
    reply: &mut Reply<'_>,
    key_at: usize,
    source: GroupSource,
    (consumer, reading): (&[u8], &Reading),
) -> Outcome<bool> {
    let key = call.key(key_at);
    let GroupSource { stream, mut open, history } = source;
    let count_max = if reading.count == 0 { u64::MAX } else { reading.count };
    if open.create_consumer(&mut call.txn, &stream, consumer)? {
        call.txn.note(Events::STREAM, "xgroup-createconsumer", &key);
    }
    let start = reply.len();
    begin_result(reply, call.args.at(key_at));
    let mark = reply.deferred_array();
    let txn = &mut call.txn;
    let count = match history {
        Some(behind) => {
            let from = behind.next().unwrap_or(Id::MAX);
            let show = |id: Id, entry: Option<Entry<'_>>| match entry {
                Some(entry) => write_entry(reply, id, &entry),
                None => {
                    reply.array(2);
                    write_id(reply, id);
                    reply.null_array();
                    Ok(())
                }
            };
            deliver::deliver_again(txn, &key, &stream, &mut open, consumer, (from, count_max), show)?
        }
        None => {
            let whose = (consumer, reading.noack);
            let show = |id: Id, entry: Entry<'_>| write_entry(reply, id, &entry);
            deliver::deliver_new(txn, &key, &stream, &mut open, whose, count_max, show)?
        }
    };
    reply.fill_array(mark, count as usize);
    let is_served = history.is_some() || count > 0;
    open.touch(txn, consumer, history.is_none() && count > 0 && !reading.noack);
    open.move_low(txn, &stream)?;
    open.save(txn, &key, &stream)?;
    if !is_served {
        reply.truncate(start);
    }
    Ok(is_served)
}
