//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! Between MULTI and EXEC `dispatch::run` puts requests into the session's queue; EXEC runs them all in its one transaction, so
//! they are one batch: whole after a crash, or absent. A command that fails takes back its own writes and effects only, and its
//! error is its element of the reply. Whatever else stops a command (a cold row, too much work) stops EXEC as a whole, to run
//! again.
//!
//! Locks: EXEC holds those of all its commands' keys, and shared ones on the watched keys: a change of a watched key is either
//! seen here, by the session's flag, or comes after.

use crate::dispatch::apart::{error_in, run_apart};
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{AllowBusy, Fast, Loading, NoScript, ReadOnly, SkipSlowlog, Stale};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::keyspace::{Outcome, Stop, fail};
use crate::resp::{Proto, Reply};
use crate::session::{Effect, Queued, Watched};
use ahash::AHashSet;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("discard", discard)
        .arity(1)
        .flags(&[NoScript, Loading, Stale, Fast, AllowBusy])
        .group(Group::Transactions)
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Drops the queued commands and ends the transaction."),
    Command::new("exec", exec)
        .arity(1)
        .flags(&[NoScript, Loading, Stale, SkipSlowlog])
        .group(Group::Transactions)
        .since("1.2.0")
        .complexity("The cost of the commands queued.")
        .summary("Runs the queued commands as one."),
    Command::new("multi", multi)
        .arity(1)
        .flags(&[NoScript, Loading, Stale, Fast, AllowBusy])
        .group(Group::Transactions)
        .since("1.2.0")
        .summary("Begins a transaction: what follows is queued."),
    Command::new("unwatch", unwatch)
        .arity(1)
        .flags(&[NoScript, Loading, Stale, Fast, AllowBusy])
        .group(Group::Transactions)
        .since("2.2.0")
        .summary("Forgets the watched keys."),
    Command::new("watch", watch)
        .arity(-2)
        .flags(&[NoScript, Loading, Stale, Fast, AllowBusy])
        .keys(&[KeySpec::ro(1).to(-1)])
        .group(Group::Transactions)
        .since("2.2.0")
        .complexity("O(1) a key")
        .summary("Lets EXEC fail if one of these keys changes first.")
        .syntax("key@0..."),
]);

fn multi(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.session.multi.is_some() {
        return fail("ERR MULTI calls can not be nested");
    }
    call.effects.push(Effect::BeginMulti);
    reply.ok();
    Ok(())
}

fn discard(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.session.multi.is_none() {
        return fail("ERR DISCARD without MULTI");
    }
    call.effects.push(Effect::EndMulti);
    reply.ok();
    Ok(())
}

fn exec<'c>(call: &mut Call<'c>, reply: &mut Reply<'_>) -> Outcome {
    let session = call.session;
    let Some(multi) = &session.multi else { return fail("ERR EXEC without MULTI") };
    call.effects.push(Effect::EndMulti);
    if multi.aborted {
        // Not an `Err`: the end of the transaction must be applied.
        reply.error("EXECABORT Transaction discarded because of previous errors.");
        return Ok(());
    }
    if session.watch_broken(call.txn.now_ms()) {
        reply.null_array();
        return Ok(());
    }
    call.txn.expect_work(multi.queue.len() as u64)?;
    let own_args = call.args;
    call.in_exec = true;
    reply.array(multi.queue.len());
    let mut began_us = call.node.clock.mono_us();
    let mut proto = reply.proto();
    let ended = multi.queue.iter().try_for_each(|queued| {
        let (reply_len, effects_len) = (reply.len(), call.effects.len());
        let command = queued.command;
        exec_one(call, queued, proto, reply)?;
        // HELLO among the commands changes how those behind it answer.
        proto = call.effects[effects_len..].iter().filter_map(chosen_proto).next_back().unwrap_or(proto);
        let ended_us = call.node.clock.mono_us();
        let error = error_in(reply.written().get(reply_len..).unwrap_or_default());
        let duration_us = ended_us.saturating_sub(began_us);
        call.effects.push(Effect::Ran { command, duration_us, error });
        call.note_if_slow(command, duration_us);
        began_us = ended_us;
        Ok(())
    });
    call.args = own_args;
    call.in_exec = false;
    ended
}

/// Runs one queued command and writes its element of the reply.
fn exec_one<'c>(call: &mut Call<'c>, queued: &'c Queued, proto: Proto, reply: &mut Reply<'_>) -> Outcome {
    let entry = call.node.table.entry(queued.command);
    let Some((entry, handler)) = entry.and_then(|entry| Some((entry, entry.spec.handler?))) else {
        // It was there when it was queued, and the table does not change.
        return Err(Stop::Unavailable("a queued command is unknown".to_owned()));
    };
    call.args = queued.args.args();
    call.txn.next_command();
    call.txn.set_quiet(call.session.no_touch);
    call.txn.set_counting(entry.spec.flags.has(ReadOnly));
    call.remember_keys(entry.spec);
    call.show_before(entry);
    if proto == reply.proto() {
        run_apart(call, handler, reply)?;
    } else {
        let mut written = Vec::new();
        run_apart(call, handler, &mut Reply::new(&mut written, proto))?;
        reply.raw(&written);
    }
    call.show_after(entry);
    Ok(())
}

fn chosen_proto(effect: &Effect) -> Option<Proto> {
    match effect {
        Effect::SetProto(proto) => Some(*proto),
        _ => None,
    }
}

fn watch(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.session.multi.is_some() {
        return fail("ERR WATCH inside MULTI is not allowed");
    }
    call.txn.expect_work(call.args.len() as u64)?;
    call.txn.set_quiet(true);
    let mut named = AHashSet::with_capacity(call.args.len());
    for index in 1..call.args.len() {
        let key = call.key(index);
        // A key is watched once, as it was when it was first named.
        if call.session.watched.contains(&key.row()[..]) || !named.insert(key.row().clone()) {
            continue;
        }
        let stored = call.txn.load(&key)?;
        call.effects.push(Effect::Watch(Watched {
            database: key.database(),
            name: key.name().into(),
            row: key.row().clone(),
            expires_at_ms: stored.as_ref().and_then(|stored| stored.expires_at_ms()),
            existed: stored.is_some(),
        }));
    }
    reply.ok();
    Ok(())
}

fn unwatch(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.effects.push(Effect::Unwatch);
    reply.ok();
    Ok(())
}
