//! Consumer groups: making them, acknowledging, claiming, and looking at what is pending. Reading for a group is in `read`.

use super::options::{Interval, parse_interval, parse_strict, parse_with_ends};
use super::{write_entry, write_id};
use crate::base::number::parse_i64;
use crate::dispatch::{Call, docs};
use crate::keyspace::events::Events;
use crate::keyspace::{Error, Key, Outcome, Stop, fail};
use crate::resp::Reply;
use crate::types::stream::deliver::{self, Claim};
use crate::types::stream::groups::{self, OpenGroup};
use crate::types::stream::{self, Entry, Id, References, Removal, Stream};
use std::ops::ControlFlow;

/// XAUTOCLAIM claims so many without COUNT.
const CLAIMED_COUNT: u64 = 100;
/// As many can be asked for as Redis finds room for.
const CLAIMED_COUNT_MAX: i64 = i64::MAX / 16;

/// What of a word is shown in an error: up to its first zero byte.
pub(super) fn shown(word: &[u8]) -> &[u8] {
    word.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn no_such(before: &str, first: &[u8], between: &str, second: &[u8]) -> Stop {
    let text = [before.as_bytes(), shown(first), between.as_bytes(), shown(second), b"'"].concat();
    Error::Bytes(text).into()
}

/// That a group is missing, where it and the key are named.
fn no_group(call: &Call<'_>) -> Stop {
    no_such("NOGROUP No such key '", call.args.at(1), "' or consumer group '", call.args.at(2))
}

/// The same of XGROUP and XINFO CONSUMERS.
pub(super) fn no_group_of_key(call: &Call<'_>) -> Stop {
    no_such("NOGROUP No such consumer group '", call.args.at(3), "' for key name '", call.args.at(2))
}

/// The stream at the first argument and its group at the second. A lookup, also where the command writes.
fn load(call: &mut Call<'_>) -> Outcome<Option<(Key, Stream, OpenGroup)>> {
    let key = call.key(1);
    let Some(stream) = call.txn.counted(|txn| stream::load(txn, &key))? else { return Ok(None) };
    let name = call.args.at(2);
    let open = OpenGroup::load(&mut call.txn, &stream, name)?;
    Ok(open.map(|open| (key, stream, open)))
}

// ---- XGROUP

pub(super) fn xgroup_help(_: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "xgroup", super::XGROUP_SUBCOMMANDS);
    Ok(())
}

/// The options of XGROUP CREATE and SETID.
#[derive(Default)]
struct GroupOptions {
    makes_stream: bool,
    entries_read: Option<u64>,
}

fn parse_group_options(call: &Call<'_>, creates: bool) -> Outcome<GroupOptions> {
    let mut options = GroupOptions::default();
    let mut words = call.args.skip(5).iter();
    while let Some(word) = words.next() {
        if creates && word.eq_ignore_ascii_case(b"mkstream") {
            options.makes_stream = true;
            continue;
        }
        let Some(read) = words.next().filter(|_| word.eq_ignore_ascii_case(b"entriesread")) else {
            let before = "ERR unknown subcommand or wrong number of arguments for '";
            return Err(Error::quoting(before, call.args.at(1), "'. Try XGROUP HELP.").into());
        };
        options.entries_read = match parse_i64(read).ok_or(Error::NotInteger)? {
            -1 => None,
            read => match u64::try_from(read) {
                Ok(read) => Some(read),
                Err(_) => return fail("ERR value for ENTRIESREAD must be positive or -1"),
            },
        };
    }
    Ok(options)
}

const NO_KEY: &str = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
                      MKSTREAM option to create an empty stream automatically.";

/// The stream of an XGROUP subcommand and the group it names, if that exists.
fn load_named(call: &mut Call<'_>) -> Outcome<(Key, Stream, Option<OpenGroup>)> {
    let key = call.key(2);
    let Some(stream) = stream::load(&mut call.txn, &key)? else { return fail(NO_KEY) };
    let name = call.args.at(3);
    let open = OpenGroup::load(&mut call.txn, &stream, name)?;
    Ok((key, stream, open))
}

pub(super) fn xgroup_create(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = parse_group_options(call, true)?;
    let key = call.key(2);
    let found = stream::load(&mut call.txn, &key)?;
    if found.is_none() && !options.makes_stream {
        return fail(NO_KEY);
    }
    let last_id = match call.args.at(4) {
        b"$" => found.as_ref().map_or(Id::MIN, Stream::last_id),
        word => parse_strict(word)?,
    };
    let mut stream = match found {
        Some(stream) => stream,
        None => Stream::new(&mut call.txn, &key),
    };
    let (name, read) = (call.args.at(3), options.entries_read);
    if !groups::create(&mut call.txn, &key, &mut stream, name, last_id, read)? {
        return fail("BUSYGROUP Consumer Group name already exists");
    }
    stream.save(&mut call.txn, &key)?;
    call.txn.note(Events::STREAM, "xgroup-create", &key);
    reply.ok();
    Ok(())
}

pub(super) fn xgroup_setid(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = parse_group_options(call, false)?;
    let (key, stream, open) = load_named(call)?;
    let mut open = open.ok_or_else(|| no_group_of_key(call))?;
    let last_id = match call.args.at(4) {
        b"$" => stream.last_id(),
        word => parse_with_ends(word, 0)?,
    };
    open.set_last_id(last_id, options.entries_read.map(|read| read.min(stream.extra().entries_added)));
    open.save(&mut call.txn, &key, &stream)?;
    call.txn.note(Events::STREAM, "xgroup-setid", &key);
    reply.ok();
    Ok(())
}

pub(super) fn xgroup_destroy(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (key, mut stream, _) = load_named(call)?;
    let name = call.args.at(3);
    let is_destroyed = groups::destroy(&mut call.txn, &key, &mut stream, name)?;
    if is_destroyed {
        stream.save(&mut call.txn, &key)?;
        call.txn.note(Events::STREAM, "xgroup-destroy", &key);
    }
    reply.integer(i64::from(is_destroyed));
    Ok(())
}

pub(super) fn xgroup_createconsumer(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (key, stream, open) = load_named(call)?;
    let mut open = open.ok_or_else(|| no_group_of_key(call))?;
    let name = call.args.at(4);
    let is_created = open.create_consumer(&mut call.txn, &stream, name)?;
    if is_created {
        open.save(&mut call.txn, &key, &stream)?;
        call.txn.note(Events::STREAM, "xgroup-createconsumer", &key);
    }
    reply.integer(i64::from(is_created));
    Ok(())
}

pub(super) fn xgroup_delconsumer(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (key, stream, open) = load_named(call)?;
    let mut open = open.ok_or_else(|| no_group_of_key(call))?;
    let name = call.args.at(4);
    let pending = open.delete_consumer(&mut call.txn, &key, &stream, name)?;
    if pending.is_some() {
        open.move_low(&mut call.txn, &stream)?;
        open.save(&mut call.txn, &key, &stream)?;
        call.txn.note(Events::STREAM, "xgroup-delconsumer", &key);
    }
    reply.integer(pending.unwrap_or(0) as i64);
    Ok(())
}

// ---- acknowledging and removing

pub(super) fn xack(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some((key, stream, mut open)) = load(call)? else {
        reply.integer(0);
        return Ok(());
    };
    let ids = call.args.skip(3).iter().map(parse_strict).collect::<Outcome<Vec<Id>>>()?;
    let txn = &mut call.txn;
    txn.expect_work(ids.len() as u64)?;
    let mut acknowledged = 0;
    for id in ids {
        if let Some(pending) = open.pending(txn, &stream, id)? {
            open.release(txn, &key, &stream, &pending)?;
            acknowledged += 1;
        }
    }
    open.move_low(txn, &stream)?;
    open.save(txn, &key, &stream)?;
    reply.integer(acknowledged);
    Ok(())
}

/// What XDELEX and XACKDEL are to remove: the words of the ids.
struct Removals {
    references: References,
    ids: std::ops::Range<usize>,
}

fn parse_removals(call: &Call<'_>, start: usize) -> Outcome<Removals> {
    let args = call.args;
    let (mut references, mut ids) = (None, None);
    let mut at = start;
    while let Some(word) = args.get(at) {
        if references.is_none()
            && let Some(read) = super::options::parse_references(word)
        {
            references = Some(read);
            at += 1;
        } else if word.eq_ignore_ascii_case(b"ids") && at + 1 < args.len() {
            let count = parse_i64(args.at(at + 1)).and_then(|count| usize::try_from(count).ok());
            let Some(count) = count.filter(|&count| count > 0) else {
                return fail("ERR Number of IDs must be a positive integer");
            };
            if count > args.len() - at - 2 {
                return fail("ERR The `numids` parameter must match the number of arguments");
            }
            ids = Some(at + 2..at + 2 + count);
            at += 2 + count;
        } else {
            return Err(Error::Syntax.into());
        }
    }
    let Some(ids) = ids else { return Err(Error::Syntax.into()) };
    Ok(Removals { references: references.unwrap_or_default(), ids })
}

fn parse_ids(call: &Call<'_>, ids: &std::ops::Range<usize>) -> Outcome<Vec<Id>> {
    ids.clone().map(|at| parse_strict(call.args.at(at))).collect()
}

fn write_all_absent(reply: &mut Reply<'_>, count: usize) {
    reply.array(count);
    (0..count).for_each(|_| reply.integer(-1));
}

pub(super) fn xdelex(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = call.key(1);
    let found = stream::load(&mut call.txn, &key)?;
    let wanted = parse_removals(call, 2)?;
    let Some(mut stream) = found else {
        write_all_absent(reply, wanted.ids.len());
        return Ok(());
    };
    let ids = parse_ids(call, &wanted.ids)?;
    let removals = stream.delete_each(&mut call.txn, &key, &ids, wanted.references)?;
    finish_removals(call, &key, &stream, &removals)?;
    reply.array(removals.len());
    for removal in removals {
        reply.integer(match removal {
            Removal::Absent => -1,
            Removal::Removed => 1,
            Removal::Referenced => 2,
        });
    }
    Ok(())
}

fn finish_removals(call: &mut Call<'_>, key: &Key, stream: &Stream, removals: &[Removal]) -> Outcome {
    if removals.contains(&Removal::Removed) {
        stream.save(&mut call.txn, key)?;
        call.txn.note(Events::STREAM, "xdel", key);
    }
    Ok(())
}

pub(super) fn xackdel(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let found = load(call)?;
    let wanted = parse_removals(call, 3)?;
    let Some((key, mut stream, mut open)) = found else {
        write_all_absent(reply, wanted.ids.len());
        return Ok(());
    };
    let ids = parse_ids(call, &wanted.ids)?;
    let txn = &mut call.txn;
    txn.expect_work(ids.len() as u64)?;
    let mut acknowledged = Vec::with_capacity(ids.len());
    for &id in &ids {
        match open.pending(txn, &stream, id)? {
            Some(pending) => {
                open.release(txn, &key, &stream, &pending)?;
                acknowledged.push(Some(id));
            }
            None => acknowledged.push(None),
        }
    }
    open.move_low(txn, &stream)?;
    open.save(txn, &key, &stream)?;
    let gone: Vec<Id> = acknowledged.iter().copied().flatten().collect();
    let removals = stream.delete_each(txn, &key, &gone, wanted.references)?;
    finish_removals(call, &key, &stream, &removals)?;
    reply.array(ids.len());
    let mut removals = removals.into_iter();
    for id in acknowledged {
        reply.integer(match id.and_then(|_| removals.next()) {
            None => -1,
            Some(Removal::Referenced) => 2,
            Some(_) => 1,
        });
    }
    Ok(())
}

// ---- pending entries

pub(super) fn xpending(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some(wanted) = parse_pending(call)? else { return summarize_pending(call, reply) };
    let (_, stream, mut open) = load(call)?.ok_or_else(|| no_group(call))?;
    let txn = &mut call.txn;
    let now_ms = txn.now_ms() as i64;
    let is_idle = |delivered_at_ms: u64| {
        wanted.idle_ms_min == 0 || now_ms - delivered_at_ms as i64 >= wanted.idle_ms_min
    };
    let mut found = Vec::new();
    let Interval { from, to } = wanted.interval;
    match wanted.consumer_at {
        None if wanted.count > 0 => {
            open.visit_pending(txn, &stream, (from, to), |pending| {
                if is_idle(pending.delivered_at_ms) {
                    found.push(pending);
                }
                let is_full = found.len() as u64 == wanted.count;
                Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        }
        Some(at) if wanted.count > 0 => {
            let name = call.args.at(at);
            let ids_max = if wanted.idle_ms_min == 0 { wanted.count } else { u64::MAX };
            for id in open.owned(txn, &stream, name, from, ids_max)? {
                if id > to || found.len() as u64 == wanted.count {
                    break;
                }
                found.extend(open.pending(txn, &stream, id)?.filter(|found| is_idle(found.delivered_at_ms)));
            }
        }
        _ => {}
    }
    reply.array(found.len());
    for pending in found {
        reply.array(4);
        write_id(reply, pending.id);
        reply.bulk(&pending.consumer);
        reply.integer((now_ms - pending.delivered_at_ms as i64).max(0));
        reply.integer(pending.deliveries as i64);
    }
    Ok(())
}

/// What XPENDING is to list.
struct PendingOptions {
    idle_ms_min: i64,
    interval: Interval,
    count: u64,
    consumer_at: Option<usize>,
}

/// None: only a summary is wanted.
fn parse_pending(call: &Call<'_>) -> Outcome<Option<PendingOptions>> {
    let args = call.args;
    if args.len() == 3 {
        return Ok(None);
    }
    if args.len() < 6 || args.len() > 9 {
        return Err(Error::Syntax.into());
    }
    let (mut start, mut idle_ms_min) = (3, 0);
    if args.at(3).eq_ignore_ascii_case(b"idle") {
        idle_ms_min = parse_i64(args.at(4)).ok_or(Error::NotInteger)?;
        if args.len() < 8 {
            return Err(Error::Syntax.into());
        }
        start = 5;
    }
    let count = parse_i64(args.at(start + 2)).ok_or(Error::NotInteger)?;
    let interval = parse_interval(args.at(start), args.at(start + 1))?;
    let consumer_at = Some(start + 3).filter(|&at| at < args.len());
    Ok(Some(PendingOptions { idle_ms_min, interval, count: u64::try_from(count).unwrap_or(0), consumer_at }))
}

fn summarize_pending(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (_, stream, open) = load(call)?.ok_or_else(|| no_group(call))?;
    let txn = &mut call.txn;
    reply.array(4);
    reply.integer(open.row().pending as i64);
    let mut first = None;
    open.visit_pending(txn, &stream, (Id::MIN, Id::MAX), |pending| {
        first = Some(pending.id);
        Ok(ControlFlow::Break(()))
    })?;
    let last = open.last_pending(txn, &stream)?;
    let (Some(first), Some(last)) = (first, last) else {
        reply.null();
        reply.null();
        reply.null_array();
        return Ok(());
    };
    write_id(reply, first);
    write_id(reply, last);
    let mut consumers = groups::consumers(txn, &stream, open.group())?;
    consumers.retain(|consumer| consumer.row.pending > 0);
    reply.array(consumers.len());
    for consumer in consumers {
        reply.array(2);
        reply.bulk(&consumer.name);
        reply.bulk_integer(consumer.row.pending as i64);
    }
    Ok(())
}

// ---- claiming

fn idle_ms_min(word: &[u8], text: &'static str) -> Outcome<u64> {
    match parse_i64(word) {
        Some(idle_ms) => Ok(u64::try_from(idle_ms).unwrap_or(0)),
        None => fail(text),
    }
}

/// The consumer of a claim, made if need be.
fn claimer(call: &mut Call<'_>, key: &Key, stream: &Stream, open: &mut OpenGroup) -> Outcome {
    let name = call.args.at(3);
    if open.create_consumer(&mut call.txn, stream, name)? {
        call.txn.note(Events::STREAM, "xgroup-createconsumer", key);
    }
    open.touch(&call.txn, name, false);
    Ok(())
}

/// The options of XCLAIM.
#[derive(Default)]
struct ClaimOptions {
    ids: Vec<Id>,
    delivered_at_ms: Option<i64>,
    deliveries: Option<u64>,
    force: bool,
    just_ids: bool,
    last_id: Id,
}

fn parse_claim(call: &Call<'_>) -> Outcome<ClaimOptions> {
    let mut options = ClaimOptions::default();
    let mut words = call.args.skip(5).iter().peekable();
    while let Some(id) = words.peek().and_then(|word| parse_strict(word).ok()) {
        options.ids.push(id);
        words.next();
    }
    while let Some(word) = words.next() {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("force") {
            options.force = true;
            continue;
        }
        if is("justid") {
            options.just_ids = true;
            continue;
        }
        let Some(value) =
            ["idle", "time", "retrycount", "lastid"].iter().find(|name| is(name)).and_then(|_| words.next())
        else {
            return Err(Error::quoting("ERR Unrecognized XCLAIM option '", word, "'").into());
        };
        if is("lastid") {
            options.last_id = parse_strict(value)?;
            continue;
        }
        let number = parse_i64(value);
        if is("idle") {
            let Some(idle_ms) = number else { return fail("ERR Invalid IDLE option argument for XCLAIM") };
            options.delivered_at_ms = Some((call.txn.now_ms() as i64).wrapping_sub(idle_ms));
        } else if is("time") {
            let Some(at_ms) = number else { return fail("ERR Invalid TIME option argument for XCLAIM") };
            options.delivered_at_ms = Some(at_ms);
        } else {
            let Some(count) = number else {
                return fail("ERR Invalid RETRYCOUNT option argument for XCLAIM");
            };
            options.deliveries = u64::try_from(count).ok();
        }
    }
    Ok(options)
}

pub(super) fn xclaim(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (key, stream, mut open) = load(call)?.ok_or_else(|| no_group(call))?;
    let idle_ms_min = idle_ms_min(call.args.at(4), "ERR Invalid min-idle-time argument for XCLAIM")?;
    let options = parse_claim(call)?;
    if options.last_id > open.row().last_id {
        let entries_read = open.row().entries_read;
        open.set_last_id(options.last_id, entries_read);
    }
    let now_ms = call.txn.now_ms();
    // As in Redis: -1 is no time, and what cannot be is now.
    let at_ms = options.delivered_at_ms.and_then(|at_ms| u64::try_from(at_ms).ok());
    let delivered_at_ms = at_ms.filter(|&at_ms| at_ms <= now_ms).unwrap_or(now_ms);
    claimer(call, &key, &stream, &mut open)?;
    let claim = Claim {
        consumer: call.args.at(3),
        idle_ms_min,
        delivered_at_ms,
        deliveries: options.deliveries,
        force: options.force,
        just_ids: options.just_ids,
    };
    let mark = reply.deferred_array();
    let txn = &mut call.txn;
    let show = |id: Id, entry: Entry<'_>| write_claimed(reply, options.just_ids, id, &entry);
    let claimed = deliver::claim(txn, &key, &stream, &mut open, &claim, &options.ids, show)?;
    reply.fill_array(mark, claimed as usize);
    open.move_low(txn, &stream)?;
    open.save(txn, &key, &stream)
}

fn write_claimed(reply: &mut Reply<'_>, just_id: bool, id: Id, entry: &Entry<'_>) -> Outcome {
    if just_id {
        write_id(reply, id);
        return Ok(());
    }
    write_entry(reply, id, entry)
}

pub(super) fn xautoclaim(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let idle_ms_min = idle_ms_min(call.args.at(4), "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
    let from = parse_interval(call.args.at(5), b"+")?.from;
    let (mut count, mut just_ids) = (CLAIMED_COUNT, false);
    let mut words = call.args.skip(6).iter();
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"justid") {
            just_ids = true;
            continue;
        }
        let Some(value) = words.next().filter(|_| word.eq_ignore_ascii_case(b"count")) else {
            return Err(Error::Syntax.into());
        };
        match parse_i64(value).filter(|count| (1..=CLAIMED_COUNT_MAX).contains(count)) {
            Some(number) => count = number.unsigned_abs(),
            None => return fail("ERR COUNT must be > 0"),
        }
    }
    let (key, stream, mut open) = load(call)?.ok_or_else(|| no_group(call))?;
    claimer(call, &key, &stream, &mut open)?;
    let claim = Claim {
        consumer: call.args.at(3),
        idle_ms_min,
        delivered_at_ms: call.txn.now_ms(),
        deliveries: None,
        force: false,
        just_ids,
    };
    let whole = reply.deferred_array();
    // The id to go on from comes first, and is known last.
    let next_at = reply.deferred_array();
    let entries = reply.deferred_array();
    let txn = &mut call.txn;
    let show = |id: Id, entry: Entry<'_>| write_claimed(reply, just_ids, id, &entry);
    let done = deliver::auto_claim(txn, &key, &stream, &mut open, &claim, (from, count), show)?;
    reply.fill_array(entries, done.claimed as usize);
    let next = done.next.unwrap_or(Id::MIN).to_string();
    reply.insert_bulk(next_at, next.as_bytes());
    reply.array(done.removed.len());
    done.removed.iter().for_each(|&id| write_id(reply, id));
    reply.fill_array(whole, 3);
    open.move_low(txn, &stream)?;
    open.save(txn, &key, &stream)
}
