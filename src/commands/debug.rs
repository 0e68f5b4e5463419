//! DEBUG: tools for those who test clients, or work on the server itself.
//!
//! CHILL empties memory and runs on the pool. OBJECT looks at a key without its lock, for DEBUG names no keys: as SCAN does, it waits
//! until all that was committed before is safe. Subcommands that would crash a Redis, or show its structures, are not there.

use super::object::{encoding_name, idle_seconds};
use crate::base::number::{parse_f64, parse_i64};
use crate::dispatch::spec::Flag::{Admin, Loading, NoScript, Protected, Stale};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::keyspace::{Error, Outcome, Stop, fail};
use crate::resp::{Args, Proto, Reply};
use crate::session::Effect;
use crate::types::footprint::footprint;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// DEBUG.
pub const COMMANDS: &[Command] = &family([Command::new("debug", debug)
    .arity(-2)
    .flags(&[Admin, NoScript, Loading, Stale, Protected])
    .group(Group::Server)
    .since("1.0.0")
    .complexity("Depends on the subcommand.")
    .summary("Tools for those who work on the server.")
    .syscmd()]);

/// Elements read to tell how long a value is.
const SAMPLES: u64 = 5;
/// Redis keeps the time of a key's last use in so many bits.
const LRU_CLOCK_BITS: u32 = 24;

fn debug(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    match debug_request(call.args)? {
        DebugRequest::Help => debug_help(reply),
        DebugRequest::Error(text) => return Err(Error::Bytes(text.to_vec()).into()),
        DebugRequest::Log(text) => {
            tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(text));
            reply.ok();
        }
        DebugRequest::Object(name) => object(call, name, reply)?,
        DebugRequest::Protocol(kind) => protocol(kind, reply)?,
        DebugRequest::Sleep(duration) => {
            call.effects.push(Effect::Sleep(duration));
            reply.ok();
        }
        DebugRequest::SetActiveExpiry(on) => {
            call.node.active_expiry.store(on, Ordering::Relaxed);
            reply.ok();
        }
        DebugRequest::Chill => {
            // Flushes to disk and frees much memory: not on a worker.
            call.txn.leave_worker()?;
            chill(call)?;
            reply.ok();
        }
    }
    Ok(())
}

/// Empties the hot tier, the memtables and the block cache.
fn chill(call: &Call<'_>) -> Outcome {
    let keyspace = &call.node.keyspace;
    keyspace.store().chill().map_err(|error| Stop::Unavailable(error.0))?;
    // Last, so that reads meanwhile do not fill it again from memory.
    keyspace.hot().clear();
    Ok(())
}

/// What Redis tells of a key. It has no address here, so its place in the order of keys stands for one; the length is that of
/// its rows.
fn object(call: &mut Call<'_>, name: &[u8], reply: &mut Reply<'_>) -> Outcome {
    call.txn.saw_everything();
    call.txn.set_quiet(true);
    let key = call.key_named(name);
    let Some(stored) = call.txn.load(&key)? else { return Err(Error::NoSuchKey.into()) };
    let value_bytes = footprint(&mut call.txn, &key, &stored, SAMPLES)?.value_bytes;
    let idle_s = idle_seconds(call, &key);
    let used_s = (call.txn.now_ms() / 1000).saturating_sub(idle_s) % (1 << LRU_CLOCK_BITS);
    let encoding = encoding_name(&stored);
    let address =
        key.row().get(4..11).unwrap_or_default().iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    reply.simple(&format!(
        "Value at:{address:#x} refcount:1 encoding:{encoding} serializedlength:{value_bytes} lru:{used_s} \
         lru_seconds_idle:{idle_s}"
    ));
    Ok(())
}

/// A reply of each kind there is.
fn protocol(kind: &[u8], reply: &mut Reply<'_>) -> Outcome {
    let is_resp3 = reply.proto() == Proto::Resp3;
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk_str("Hello World"),
        b"integer" => reply.integer(12_345),
        // 3.141, which no lint shall take for a bad pi.
        b"double" => reply.double(3141.0 / 1000.0),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if is_resp3 {
                reply.raw(b"|1\r\n");
                reply.bulk_str("key-popularity");
                reply.array(2);
                reply.bulk_str("key:123");
                reply.integer(90);
            }
            reply.bulk_str("Some real reply following the attribute");
        }
        b"push" if !is_resp3 => return fail("ERR RESP2 is not supported by this command"),
        b"push" => {
            reply.bulk_str("Some real reply following the push reply");
            reply.push(2);
            reply.bulk_str("server-cpu-usage");
            reply.integer(42);
        }
        b"verbatim" => reply.verbatim(b"txt", b"This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        _ => {
            return fail(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            );
        }
    }
    Ok(())
}

/// What DEBUG is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum DebugRequest<'a> {
    /// Hold this connection's replies back.
    Sleep(Duration),
    /// Make everything cold.
    Chill,
    /// Let the expirer run, or not.
    SetActiveExpiry(bool),
    /// Answer this error.
    Error(&'a [u8]),
    /// Log this.
    Log(&'a [u8]),
    /// Tell of a key.
    Object(&'a [u8]),
    /// Answer a value of this kind.
    Protocol(&'a [u8]),
    /// Say what there is.
    Help,
}

fn debug_request(args: Args<'_>) -> Outcome<DebugRequest<'_>> {
    let word = args.at(1).to_ascii_lowercase();
    match (word.as_slice(), args.len()) {
        (b"help", 2) => Ok(DebugRequest::Help),
        (b"chill", 2) => Ok(DebugRequest::Chill),
        (b"error", 3) => Ok(DebugRequest::Error(args.at(2))),
        (b"log", 3) => Ok(DebugRequest::Log(args.at(2))),
        (b"object", 3) => Ok(DebugRequest::Object(args.at(2))),
        (b"protocol", 3) => Ok(DebugRequest::Protocol(args.at(2))),
        // As lenient as Redis: what is no number is 0.
        (b"sleep", 3) => {
            let seconds = parse_f64(args.at(2)).unwrap_or(0.0);
            Ok(DebugRequest::Sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default()))
        }
        (b"set-active-expire", 3) => {
            Ok(DebugRequest::SetActiveExpiry(parse_i64(args.at(2)).unwrap_or(0) != 0))
        }
        _ => {
            let said = args.at(1);
            let said = said.get(..said.len().min(128)).unwrap_or_default();
            let before = "ERR unknown subcommand or wrong number of arguments for '";
            Err(Error::quoting(before, said, "'. Try DEBUG HELP.").into())
        }
    }
}

fn debug_help(reply: &mut Reply<'_>) {
    const LINES: &[&str] = &[
        "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CHILL",
        "    Empties the hot tier, the memtables and the block cache: every key is on disk only.",
        "ERROR <string>",
        "    Answers the string as an error.",
        "LOG <message>",
        "    Writes the message to the server's log.",
        "OBJECT <key>",
        "    Tells how a key is kept, how long it is, and when it was last used.",
        "PROTOCOL <type>",
        "    Answers a value of the type: string, integer, double, bignum, null, array, set, map,",
        "    attrib, push, verbatim, true, false.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Stops or starts the removal of expired keys in the background.",
        "SLEEP <seconds>",
        "    Holds back the replies of this connection. Others go on.",
        "HELP",
        "    Print this help.",
    ];
    reply.array(LINES.len());
    LINES.iter().for_each(|line| reply.simple(line));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    /// What a line asks for, as text.
    fn request(line: &str) -> Result<String, String> {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        match debug_request(OwnedArgs::from_slices(&words).args()) {
            Ok(request) => Ok(format!("{request:?}")),
            Err(Stop::Error(error)) => Err(error.to_string()),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn debug_takes_any_number_and_refuses_any_other_form() {
        assert_eq!(request("debug SLEEP 0.25"), Ok("Sleep(250ms)".into()));
        for zero in ["debug sleep -1", "debug sleep a", "debug sleep nan", "debug sleep 1e300"] {
            assert_eq!(request(zero), Ok("Sleep(0ns)".into()), "{zero}");
        }
        assert_eq!(request("debug set-active-expire 1"), Ok("SetActiveExpiry(true)".into()));
        assert_eq!(request("debug set-active-expire x"), Ok("SetActiveExpiry(false)".into()));
        let text = "ERR unknown subcommand or wrong number of arguments for 'Sleep'. Try DEBUG HELP.";
        assert_eq!(request("debug Sleep"), Err(text.into()));
        assert_eq!(request("debug Sleep 1 2"), Err(text.into()));
    }
}
