//! Commands about the server as a whole: its clock, its saving, its end.
//!
//! SAVE and BGSAVE make a checkpoint: hard links to the files and the log's tail. SAVE waits for it on the pool. BGREWRITEAOF cuts the
//! log: memtables go to sorted files, and the logs they came from are removed. There are no replicas yet: ROLE says so, and who
//! waits for one (WAIT, WAITAOF) waits in vain: the reply is held back until the time is up. For this server's own log WAITAOF waits
//! on the pool, however `appendfsync` is set. Data is safe without a checkpoint, so SHUTDOWN makes one only when SAVE asks for
//! it. None of them touches a key or takes a lock.

use crate::base::number::parse_i64;
use crate::dispatch::node::Node;
use crate::dispatch::spec::Flag::{
    Admin, AllowBusy, Blocking, Fast, Heavy, Loading, NoAsyncLoading, NoMulti, NoScript, Stale,
};
use crate::dispatch::spec::{Category, Group, family};
use crate::dispatch::{Call, Command};
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::{Args, Reply};
use crate::session::Effect;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("bgrewriteaof", bgrewriteaof)
        .arity(1)
        .flags(&[Admin, NoScript, NoAsyncLoading])
        .group(Group::Server)
        .since("1.0.0")
        .summary("Compacts the append-only log in the background."),
    Command::new("bgsave", bgsave)
        .arity(-1)
        .flags(&[Admin, NoScript, NoAsyncLoading])
        .group(Group::Server)
        .since("1.0.0")
        .summary("Saves the data in the background.")
        .syntax("[SCHEDULE^3.2.2]"),
    Command::new("lastsave", lastsave)
        .arity(1)
        .flags(&[Loading, Stale, Fast])
        .group(Group::Server)
        .acl(&[Category::Admin, Category::Dangerous])
        .tips(&["nondeterministic_output"])
        .since("1.0.0")
        .summary("Tells when the data was last saved."),
    Command::new("role", role)
        .arity(1)
        .flags(&[NoScript, Loading, Stale, Fast])
        .group(Group::Server)
        .acl(&[Category::Admin, Category::Dangerous])
        .since("2.8.12")
        .summary("Tells whether this server leads or follows."),
    Command::new("save", save)
        .arity(1)
        .flags(&[Admin, NoScript, NoAsyncLoading, NoMulti, Heavy])
        .group(Group::Server)
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Saves the data while the client waits."),
    Command::new("shutdown", shutdown)
        .arity(-1)
        .flags(&[Admin, NoScript, Loading, Stale, NoMulti, AllowBusy])
        .group(Group::Server)
        .since("1.0.0")
        .complexity("O(N) if it saves, otherwise O(1)")
        .summary("Stops the server, saving first if so set.")
        .syntax("[save-selector<NOSAVE | SAVE>] [NOW^7.0.0] [FORCE^7.0.0] [ABORT^7.0.0]"),
    Command::new("time", time)
        .arity(1)
        .flags(&[Loading, Stale, Fast])
        .group(Group::Server)
        .tips(&["nondeterministic_output"])
        .since("2.6.0")
        .summary("Tells the server's clock."),
    Command::new("wait", wait)
        .arity(3)
        .flags(&[Blocking])
        .group(Group::Generic)
        .acl(&[Category::Connection])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .since("3.0.0")
        .summary("Waits until replicas have this connection's writes.")
        .syntax("numreplicas:int timeout:int"),
    Command::new("waitaof", waitaof)
        .arity(4)
        .flags(&[Blocking])
        .group(Group::Generic)
        .acl(&[Category::Connection])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .since("7.2.0")
        .summary("Waits until this connection's writes are safe on disk, here or on replicas.")
        .syntax("numlocal:int numreplicas:int timeout:int"),
]);

const SAVE_IN_PROGRESS: &str = "ERR Background save already in progress";

fn time(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let now_us = call.txn.now_us();
    reply.array(2);
    reply.bulk_integer((now_us / 1_000_000) as i64);
    reply.bulk_integer((now_us % 1_000_000) as i64);
    Ok(())
}

fn role(_call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(3);
    reply.bulk_str("master");
    reply.integer(0);
    reply.array(0);
    Ok(())
}

fn wait(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let replicas = parse_i64(call.args.at(1)).ok_or(Error::NotInteger)?;
    let timeout_ms = timeout_ms(call.args.at(2), call.txn.now_ms())?;
    wait_in_vain(call, replicas, timeout_ms);
    reply.integer(0);
    Ok(())
}

/// Holds the reply back until no replica has answered for so long; 0 is for ever.
fn wait_in_vain(call: &mut Call<'_>, replicas: i64, timeout_ms: u64) {
    if replicas > 0 && !call.in_exec {
        let delay = if timeout_ms == 0 { Duration::MAX } else { Duration::from_millis(timeout_ms) };
        call.effects.push(Effect::Sleep(delay));
    }
}

fn waitaof(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let locals = parse_i64(call.args.at(1)).ok_or(Error::NotInteger)?;
    if !(0..=1).contains(&locals) {
        return fail("ERR value is out of range, value must between 0 and 1");
    }
    let Some(replicas) = parse_i64(call.args.at(2)).filter(|&replicas| replicas >= 0) else {
        return fail("ERR value is out of range, must be positive");
    };
    let timeout_ms = timeout_ms(call.args.at(3), call.txn.now_ms())?;
    let keyspace = &call.node.keyspace;
    let store = keyspace.store();
    let mut synced =
        store.with_db(|db| db.latest_sequence()).is_ok_and(|latest| store.synced_sequence() >= latest);
    if locals == 1 && !call.in_exec && !synced {
        call.txn.leave_worker()?;
        synced = store.sync_wal().is_ok();
        if !synced {
            keyspace.signal_failure();
        }
    }
    wait_in_vain(call, replicas, timeout_ms);
    reply.array(2);
    reply.integer(i64::from(synced));
    reply.integer(0);
    Ok(())
}

/// A timeout in milliseconds, 0 for none. The moment it ends must be one that can be told.
pub(super) fn timeout_ms(text: &[u8], now_ms: u64) -> Outcome<u64> {
    let timeout = parse_i64(text).ok_or(Error::text("ERR timeout is not an integer or out of range"))?;
    let Ok(timeout_ms) = u64::try_from(timeout) else { return fail("ERR timeout is negative") };
    if timeout_ms > (i64::MAX as u64).saturating_sub(now_ms) {
        return fail("ERR timeout is out of range");
    }
    Ok(timeout_ms)
}

fn lastsave(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(call.node.saves.last_success_s.load(Ordering::Relaxed) as i64);
    Ok(())
}

fn save(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.node.saves.in_progress.load(Ordering::Acquire) {
        return fail(SAVE_IN_PROGRESS);
    }
    if let Err(reason) = make_checkpoint(call.node) {
        return Err(Error::Text(format!("ERR {reason}").into()).into());
    }
    reply.ok();
    Ok(())
}

fn make_checkpoint(node: &Node) -> Result<(), String> {
    let checkpoint = node.checkpoint.get().ok_or("this server makes no checkpoints")?;
    checkpoint(node).map(|_| ())
}

fn bgsave(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    // SCHEDULE means: behind a rewrite of the log. There is none, so it changes nothing.
    match call.args.len() {
        1 => {}
        2 if call.args.at(1).eq_ignore_ascii_case(b"schedule") => {}
        _ => return Err(Error::Syntax.into()),
    }
    if call.node.saves.in_progress.load(Ordering::Acquire) {
        return fail(SAVE_IN_PROGRESS);
    }
    call.effects.push(Effect::Checkpoint);
    // Inside EXEC it begins behind the transaction, as in Redis.
    reply.simple(if call.in_exec { "Background saving scheduled" } else { "Background saving started" });
    Ok(())
}

/// There is no append-only file to rewrite; what comes nearest is to cut the log.
fn bgrewriteaof(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.node.saves.cutting.load(Ordering::Acquire) {
        return fail("ERR Background append only file rewriting already in progress");
    }
    call.effects.push(Effect::CutLog);
    // Inside EXEC it begins behind the transaction, as in Redis.
    let when = if call.in_exec { "scheduled" } else { "started" };
    reply.simple(&format!("Background append only file rewriting {when}"));
    Ok(())
}

fn shutdown(call: &mut Call<'_>, _reply: &mut Reply<'_>) -> Outcome {
    match shutdown_request(call.args.skip(1))? {
        ShutdownRequest::Abort => fail("ERR No shutdown in progress."),
        ShutdownRequest::End { save, force } => {
            if save {
                call.txn.leave_worker()?;
                let failure = make_checkpoint(call.node).err();
                if let Some(reason) = failure.filter(|_| !force) {
                    tracing::error!(reason, "no checkpoint could be made; not shutting down");
                    return fail("ERR Errors trying to SHUTDOWN. Check logs.");
                }
            }
            // No reply: the connection ends with the server.
            call.effects.push(Effect::Shutdown);
            Ok(())
        }
    }
}

/// What SHUTDOWN is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShutdownRequest {
    /// Take a shutdown back. None ever waits here: without replicas there is nothing to wait for.
    Abort,
    /// End the server.
    End {
        /// A checkpoint first.
        save: bool,
        /// Even if that fails.
        force: bool,
    },
}

fn shutdown_request(words: Args<'_>) -> Outcome<ShutdownRequest> {
    let (mut save, mut nosave, mut now, mut force, mut abort) = (false, false, false, false, false);
    for word in words.iter() {
        let option = match word.to_ascii_lowercase().as_slice() {
            b"save" => &mut save,
            b"nosave" => &mut nosave,
            b"now" => &mut now,
            b"force" => &mut force,
            b"abort" => &mut abort,
            _ => return Err(Error::Syntax.into()),
        };
        *option = true;
    }
    if (save && nosave) || (abort && (save || nosave || now || force)) {
        return Err(Error::Syntax.into());
    }
    Ok(if abort { ShutdownRequest::Abort } else { ShutdownRequest::End { save, force } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Stop;
    use crate::resp::OwnedArgs;

    fn parsed<T>(line: &str, parse: impl Fn(Args<'_>) -> Outcome<T>) -> Result<T, String> {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        parse(OwnedArgs::from_slices(&words).args()).map_err(|stop| match stop {
            Stop::Error(error) => error.to_string(),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn shutdown_options_in_any_order_and_case() {
        let request = |line| parsed(line, shutdown_request);
        let end = |force, save| Ok(ShutdownRequest::End { save, force });
        assert_eq!(request(""), end(false, false));
        assert_eq!(request("NOSAVE now Force"), end(true, false));
        assert_eq!(request("now now save"), end(false, true));
        assert_eq!(request("Abort"), Ok(ShutdownRequest::Abort));
        for wrong in ["foo", "save nosave", "abort now", "nosave abort", "force abort", "now now foo"] {
            assert_eq!(request(wrong), Err("ERR syntax error".into()), "{wrong}");
        }
    }

    #[test]
    fn a_timeout_says_what_is_wrong_with_it() {
        let timeout = |text: &str| parsed("", |_| timeout_ms(text.as_bytes(), 1_000_000));
        assert_eq!((timeout("0"), timeout("100")), (Ok(0), Ok(100)));
        assert_eq!(timeout("x"), Err("ERR timeout is not an integer or out of range".into()));
        assert_eq!(timeout("-1"), Err("ERR timeout is negative".into()));
        assert_eq!(timeout("9223372036854775807"), Err("ERR timeout is out of range".into()));
    }
}
