//! EVAL and its kin: Lua scripts. How Lua is run is in `script`, how a script meets the data in `script_host`.
//!
//! Each thread has an interpreter of its own; the texts are shared.

use super::script_host::{CommandHost, LUA_BYTES_MAX, WordList, check_flags};
use crate::base::number::parse_i64;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::running::{BUSY_FUNCTION, Kill};
use crate::dispatch::spec::Flag::{
    AllowBusy, Loading, MayReplicate, NoMandatoryKeys, NoScript, Reaches, ReadOnly, SkipMonitor, Stale,
};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command, docs};
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::{Args, Reply};
use crate::script::{Engine, Script, Sha};
use std::cell::RefCell;
use std::sync::Arc;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("eval", eval)
        .arity(-3)
        .flags(&[NoScript, Stale, SkipMonitor, NoMandatoryKeys, MayReplicate, Reaches])
        .keys(&[KeySpec::rw(2)
            .counted()
            .access()
            .update()
            .note("A script may read and change any of its keys")])
        .group(Group::Scripting)
        .since("2.6.0")
        .complexity("The script's own cost.")
        .summary("Runs a Lua script.")
        .syntax("script numkeys:int [key@0...] [arg...]"),
    Command::new("eval_ro", eval_ro)
        .arity(-3)
        .flags(&[ReadOnly, NoScript, Stale, SkipMonitor, NoMandatoryKeys, Reaches])
        .keys(&[KeySpec::ro(2).counted().access().note("A read-only script may read any of its keys")])
        .group(Group::Scripting)
        .since("7.0.0")
        .complexity("The script's own cost.")
        .summary("Runs a Lua script that may only read.")
        .syntax("script numkeys:int [key@0...] [arg...]"),
    Command::new("evalsha", evalsha)
        .arity(-3)
        .flags(&[NoScript, Stale, SkipMonitor, NoMandatoryKeys, MayReplicate, Reaches])
        .keys(&[KeySpec::rw(2).counted().access().update()])
        .group(Group::Scripting)
        .since("2.6.0")
        .complexity("The script's own cost.")
        .summary("Runs a Lua script the server already has.")
        .syntax("sha1 numkeys:int [key@0...] [arg...]"),
    Command::new("evalsha_ro", evalsha_ro)
        .arity(-3)
        .flags(&[ReadOnly, NoScript, Stale, SkipMonitor, NoMandatoryKeys, Reaches])
        .keys(&[KeySpec::ro(2).counted().access()])
        .group(Group::Scripting)
        .since("7.0.0")
        .complexity("The script's own cost.")
        .summary("Runs a Lua script the server already has, and that may only read.")
        .syntax("sha1 numkeys:int [key@0...] [arg...]"),
    Command::container("script", SCRIPT_SUBCOMMANDS)
        .group(Group::Scripting)
        .since("2.6.0")
        .summary("Lua scripts the server keeps."),
]);

const SCRIPT_SUBCOMMANDS: &[Command] = &[
    Command::new("exists", script_exists)
        .arity(-3)
        .flags(&[NoScript])
        .group(Group::Scripting)
        .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
        .since("2.6.0")
        .complexity("O(N)")
        .summary("Tells which scripts the server has.")
        .syntax("sha1..."),
    Command::new("flush", script_flush)
        .arity(-2)
        .flags(&[NoScript])
        .group(Group::Scripting)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.6.0")
        .complexity("O(N)")
        .summary("Forgets all scripts.")
        .syntax("[flush-type<ASYNC | SYNC>^6.2.0]"),
    Command::new("help", script_help)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::Scripting)
        .since("5.0.0")
        .summary("Lists what SCRIPT can do."),
    Command::new("kill", script_kill)
        .arity(2)
        .flags(&[NoScript, AllowBusy])
        .group(Group::Scripting)
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .since("2.6.0")
        .summary("Stops the script that is running."),
    Command::new("load", script_load)
        .arity(3)
        .flags(&[NoScript, Stale])
        .group(Group::Scripting)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.6.0")
        .complexity("O(N)")
        .summary("Keeps a script without running it.")
        .syntax("script"),
];

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::new(Engine::new(LUA_BYTES_MAX));
}

fn eval(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    run_text(call, reply, false)
}

fn eval_ro(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    run_text(call, reply, true)
}

fn evalsha(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    run_named(call, reply, false)
}

fn evalsha_ro(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    run_named(call, reply, true)
}

/// The words behind the script: its keys and its arguments.
fn split_words<'c>(call: &Call<'c>) -> Outcome<(Args<'c>, Args<'c>)> {
    let count = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    let words = call.args.skip(3);
    if count > words.len() as i64 {
        return fail("ERR Number of keys can't be greater than number of args");
    }
    let Ok(count) = usize::try_from(count) else { return fail("ERR Number of keys can't be negative") };
    Ok((words.slice(0, count), words.skip(count)))
}

fn run_text(call: &mut Call<'_>, reply: &mut Reply<'_>, read_only: bool) -> Outcome {
    let words = split_words(call)?;
    let text = call.args.at(1);
    let scripts = &call.node.scripts;
    let script = match scripts.get(Sha::of(text)) {
        Some(script) => script,
        None => {
            let script = Arc::new(Script::parse(text).map_err(Error::Bytes)?);
            ENGINE.with_borrow_mut(|engine| engine.check(&script)).map_err(Error::Bytes)?;
            scripts.keep(Arc::clone(&script));
            script
        }
    };
    run(call, reply, &script, words, read_only)
}

fn run_named(call: &mut Call<'_>, reply: &mut Reply<'_>, read_only: bool) -> Outcome {
    const UNKNOWN: &str = "NOSCRIPT No matching script. Please use EVAL.";
    let name = call.args.at(1);
    if name.len() != Sha::HEX_LEN {
        return fail(UNKNOWN);
    }
    let words = split_words(call)?;
    match Sha::parse(name).and_then(|sha| call.node.scripts.get(sha)) {
        Some(script) => run(call, reply, &script, words, read_only),
        None => fail(UNKNOWN),
    }
}

fn run<'c>(
    call: &mut Call<'c>,
    reply: &mut Reply<'_>,
    script: &Script,
    (keys, args): (Args<'c>, Args<'c>),
    is_read_only: bool,
) -> Outcome {
    let flags = script.declares_flags().then(|| script.flags());
    let is_read_only = check_flags(call, flags, is_read_only)?;
    let (key_words, arg_words): (WordList<'_>, WordList<'_>) = (keys.iter().collect(), args.iter().collect());
    let mut host = CommandHost::new(call, None, keys, is_read_only);
    let ended = ENGINE.with_borrow_mut(|engine| engine.run(script, &key_words, &arg_words, &mut host, reply));
    host.end(ended)
}

fn script_exists(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let names = call.args.skip(2);
    reply.array(names.len());
    for name in names.iter() {
        let known = Sha::parse(name).is_some_and(|sha| call.node.scripts.contains(sha));
        reply.integer(known.into());
    }
    Ok(())
}

fn script_load(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let script = Arc::new(Script::parse(call.args.at(2)).map_err(Error::Bytes)?);
    ENGINE.with_borrow_mut(|engine| engine.check(&script)).map_err(Error::Bytes)?;
    reply.bulk(&script.sha().hex());
    // Not an effect: those behind it in EXEC are to find it, and loading it twice changes nothing.
    call.node.scripts.load(script);
    Ok(())
}

fn script_flush(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let is_mode = |word: &[u8]| word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async");
    if call.args.len() > 3 || call.args.get(2).is_some_and(|word| !is_mode(word)) {
        return fail("ERR SCRIPT FLUSH only support SYNC|ASYNC option");
    }
    call.node.scripts.flush();
    reply.ok();
    Ok(())
}

fn script_kill(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    match call.node.running_scripts.kill(false) {
        Kill::Told => reply.ok(),
        Kill::Nothing => return fail("NOTBUSY No scripts in execution right now."),
        Kill::OnlyOthers => {
            return fail(BUSY_FUNCTION);
        }
    }
    Ok(())
}

fn script_help(_: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "script", SCRIPT_SUBCOMMANDS);
    Ok(())
}
