//! EVAL and its kin: Lua scripts. How Lua is run is in `script`; here a script meets the data.
//!
//! A script is one command: it runs in one transaction, the commands it calls run in it one after the other (`Call::nest`), and all
//! is one batch. What stops one of its commands (a cold row, too much work) stops the script, which runs again from its start
//! with the same clock and chance. Keys it has declared are locked before; one that it comes upon is locked on the spot if it is
//! free (`Txn::reach`). A script that takes longer than a worker should goes to the pool.
//!
//! Each thread has an interpreter of its own; the texts are shared.

use crate::base::number::parse_i64;
use crate::dispatch::apart::{error_in, run_apart};
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::node::{Node, RunningScript};
use crate::dispatch::run::misconf_text;
use crate::dispatch::spec::Flag::{
    self, AllowBusy, Loading, MayReplicate, NoMandatoryKeys, NoScript, Reaches, ReadOnly, SkipMonitor, Stale,
};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command, docs};
use crate::encoding::row::Position;
use crate::keyspace::{Error, Mode, Outcome, Stop, StripeId, fail};
use crate::resp::{Args, OwnedArgs, Proto, Reply};
use crate::script::{self, Engine, Flags, Host, LogLevel, Script, Sha};
use crate::session::Effect;
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

/// Lua's data on one thread, bytes.
const LUA_BYTES_MAX: usize = 256 << 20;
/// A script that takes longer leaves the worker for the pool, microseconds.
const WORKER_US_MAX: u64 = 3_000;

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
    let words = split_words(call)?;
    match Sha::parse(call.args.at(1)).and_then(|sha| call.node.scripts.get(sha)) {
        Some(script) => run(call, reply, &script, words, read_only),
        None => fail("NOSCRIPT No matching script. Please use EVAL."),
    }
}

fn run(
    call: &mut Call<'_>,
    reply: &mut Reply<'_>,
    script: &Script,
    (keys, args): (Args<'_>, Args<'_>),
    read_only: bool,
) -> Outcome {
    let may_write = !script.declares_flags() || !script.flags().has(Flags::NO_WRITES);
    if script.declares_flags() && may_write {
        if read_only {
            return fail("ERR Can not execute a script with write flag using *_ro command.");
        }
        if let Some(reason) = call.node.keyspace.store().failure() {
            return Err(Error::Bytes(misconf_text(&reason).into_bytes()).into());
        }
    }
    let (keys, args): (Vec<_>, Vec<_>) = (keys.iter().collect(), args.iter().collect());
    let node: &Node = call.node;
    let running = node.begin_script(call.txn.mode() != Mode::Worker);
    let began_us = node.clock.mono_us();
    let mut host = CommandHost { call, began_us, running, read_only: read_only || !may_write, stop: None };
    let ended = ENGINE.with_borrow_mut(|engine| engine.run(script, &keys, &args, &mut host, reply));
    match (ended, host.stop.take()) {
        (script::Outcome::Stopped, Some(stop)) => Err(stop),
        (script::Outcome::Stopped, None) => Err(Stop::Heavy),
        (script::Outcome::Done | script::Outcome::Failed { .. }, _) => Ok(()),
    }
}

/// Runs what a script asks for as commands of the script's own transaction.
struct CommandHost<'h, 'c> {
    call: &'h mut Call<'c>,
    began_us: u64,
    /// Where SCRIPT KILL finds it, when it is not on a worker.
    running: RunningScript<'h>,
    read_only: bool,
    /// Why the script was ended.
    stop: Option<Stop>,
}

impl CommandHost<'_, '_> {
    fn end(&mut self, stop: Stop) -> Result<(), script::Stop> {
        self.stop = Some(stop);
        Err(script::Stop::Again)
    }

    /// Why the script may not run a command, in Redis' words.
    fn refusal(&self, flags: crate::dispatch::spec::Flags) -> Option<String> {
        if flags.has(NoScript) {
            return Some("ERR This Redis command is not allowed from script".to_owned());
        }
        if flags.has(Flag::Write) {
            if self.read_only {
                return Some("ERR Write commands are not allowed from read-only scripts.".to_owned());
            }
            return self.call.node.keyspace.store().failure().map(|reason| misconf_text(&reason));
        }
        None
    }

    fn run_command(&mut self, words: &OwnedArgs, proto: Proto, out: &mut Vec<u8>) -> Outcome {
        let args = words.args();
        let mut reply = Reply::new(out, proto);
        let node = self.call.node;
        let Ok(entry) = node.table.find(args) else {
            reply.error("ERR Unknown Redis command called from script");
            return Ok(());
        };
        let (spec, count) = (entry.spec, args.len() as i32);
        let wrong_count = (spec.arity > 0 && count != spec.arity) || count < -spec.arity;
        let Some(handler) = spec.handler.filter(|_| !wrong_count) else {
            reply.error("ERR Wrong number of args calling Redis command from script");
            return Ok(());
        };
        if let Some(text) = self.refusal(spec.flags) {
            reply.error(&text);
            return Ok(());
        }
        let mode = self.call.txn.mode();
        if spec.flags.has(Flag::Gate) && mode != Mode::Alone {
            return Err(Stop::Alone);
        }
        if spec.flags.has(Flag::Heavy) && mode == Mode::Worker {
            return Err(Stop::Heavy);
        }
        for key in spec.lock_keys(args) {
            let position = Position::of_key(node.keyspace.seed(), args.at(key.index as usize));
            self.call.txn.reach(StripeId::of(position))?;
        }
        let began_us = node.clock.mono_us();
        let start = reply.len();
        let quiet = self.call.session.no_touch;
        let mut nested = self.call.nest(args);
        nested.txn.set_quiet(quiet);
        nested.txn.set_counting(spec.flags.has(ReadOnly));
        let ran = run_apart(&mut nested, handler, &mut reply);
        let (remapping, effects) = (nested.txn.into_remapping(), nested.effects);
        self.call.txn.take_up(remapping);
        ran?;
        for effect in effects {
            match effect {
                // The script's own choice: its caller's database stays.
                Effect::Select(database) => self.call.database = database,
                effect => self.call.effects.push(effect),
            }
        }
        let error = error_in(reply.written().get(start..).unwrap_or_default());
        let duration_us = node.clock.mono_us().saturating_sub(began_us);
        self.call.effects.push(Effect::Ran { command: entry.index, duration_us, error });
        self.call.note_if_slow_in_script(entry, args, duration_us);
        Ok(())
    }
}

impl Host for CommandHost<'_, '_> {
    fn call(&mut self, words: &[&[u8]], proto: Proto, out: &mut Vec<u8>) -> Result<(), script::Stop> {
        self.tick()?;
        match self.run_command(&OwnedArgs::from_slices(words), proto, out) {
            Ok(()) => Ok(()),
            Err(stop) => self.end(stop),
        }
    }

    fn tick(&mut self) -> Result<(), script::Stop> {
        if self.running.is_killed() {
            return Err(script::Stop::Kill);
        }
        let took_us = self.call.node.clock.mono_us().saturating_sub(self.began_us);
        match self.call.txn.mode() {
            Mode::Worker if took_us > WORKER_US_MAX => self.end(Stop::Heavy),
            // It may go round for ever, for what it sees need not fit together; it was only to warm rows.
            Mode::Dry if took_us > 1000 * self.call.node.config.busy_reply_threshold_ms() => {
                self.end(Stop::Heavy)
            }
            _ => Ok(()),
        }
    }

    fn seed(&mut self) -> u64 {
        self.call.txn.rng().next_u64()
    }

    fn may_run(&mut self, words: &[&[u8]]) -> Option<bool> {
        let words = OwnedArgs::from_slices(words);
        self.call.node.table.find(words.args()).ok().map(|_| true)
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        match level {
            LogLevel::Debug => tracing::trace!(script = %text),
            LogLevel::Verbose => tracing::debug!(script = %text),
            LogLevel::Notice => tracing::info!(script = %text),
            LogLevel::Warning => tracing::warn!(script = %text),
        }
    }
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
    if !call.node.kill_scripts() {
        return fail("NOTBUSY No scripts in execution right now.");
    }
    reply.ok();
    Ok(())
}

fn script_help(_: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "script", SCRIPT_SUBCOMMANDS);
    Ok(())
}
