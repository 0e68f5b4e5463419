//! Where a script or a function meets the data.
//!
//! A script is one command: it runs in one transaction, the commands it calls run in it one after the other (`Call::nest`), and all
//! is one batch. What stops one of its commands (a cold row, too much work) stops the script, which runs again from its start
//! with the same clock and chance. Keys it has declared are locked before; one that it comes upon is locked on the spot if it is
//! free (`Txn::reach`). A script that takes longer than a worker should goes to the pool.

use crate::dispatch::Call;
use crate::dispatch::apart::{error_in, run_apart};
use crate::dispatch::node::Node;
use crate::dispatch::prepare::misconf_text;
use crate::dispatch::running::{Holds, Killer, RunningFunction, RunningScript};
use crate::dispatch::spec::Flag::{self, NoScript, ReadOnly};
use crate::dispatch::table::Entry;
use crate::encoding::row::Position;
use crate::keyspace::{Error, Mode, Outcome, Savepoint, Stop, StripeId, fail};
use crate::metrics::stats::Tally;
use crate::resp::args::ArgRange;
use crate::resp::{Args, OwnedArgs, Proto, Reply};
use crate::script::{self, Flags, Host, LogLevel};
use crate::session::Effect;
use smallvec::SmallVec;
use std::cell::Cell;

/// Lua's data on one thread, bytes: that of scripts, and as much again for functions.
pub const LUA_BYTES_MAX: usize = 256 << 20;
/// A script that takes longer leaves the worker for the pool, microseconds.
const WORKER_US_MAX: u64 = 3_000;

/// The keys or the arguments of a script.
pub type WordList<'a> = SmallVec<[&'a [u8]; 8]>;

/// Whether what a script or a function has declared lets it run now; and whether it must not write. A script may have declared
/// nothing.
pub fn check_flags(call: &Call<'_>, flags: Option<Flags>, is_read_only: bool) -> Outcome<bool> {
    let may_write = !flags.is_some_and(|flags| flags.has(Flags::NO_WRITES));
    if flags.is_some() && may_write {
        if is_read_only {
            return fail("ERR Can not execute a script with write flag using *_ro command.");
        }
        if let Some(reason) = call.node.keyspace.store().failure() {
            return Err(Error::Bytes(misconf_text(&reason).into_bytes()).into());
        }
    }
    Ok(is_read_only || !may_write)
}

/// Of so many declared keys it is looked whether a command uses them; locking a key that is locked does no harm.
const DECLARED_KEYS_COMPARED_MAX: usize = 16;
/// Every command that a script runs leaves one.
const EFFECTS_FORESEEN: usize = 16;
/// So many commands of a script are in the figures, and in the slow log, one by one; those behind them are added up.
const COMMANDS_APART_MAX: usize = 1000;
/// What a script may publish, bytes: messages wait for its commit.
const PUBLISHED_BYTES_MAX: usize = 64 << 20;
/// What monitors are shown of a script, bytes; behind that they have long been cut.
const SHOWN_BYTES_MAX: usize = 64 << 20;
/// What the client of a script is told that the server has ended.
const ENDED: &str =
    "the script was ended and has changed nothing: the server stops, or opens its database again";
/// A buffer for words that has grown beyond this is given back, bytes.
const KEPT_BYTES_MAX: usize = 64 << 10;

thread_local! {
    /// The buffer that the next script begins with.
    static WORDS: Cell<Words> = const { Cell::new(Words { bytes: Vec::new(), ranges: Vec::new() }) };
}

/// The words of a command, one after the other.
#[derive(Default)]
struct Words {
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
}

impl Words {
    fn set(&mut self, words: &[&[u8]]) {
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            *self = Words::default();
        }
        self.bytes.clear();
        self.ranges.clear();
        for word in words {
            self.ranges.push(ArgRange::new(self.bytes.len(), word.len()));
            self.bytes.extend_from_slice(word);
        }
    }

    fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges)
    }
}

/// Runs what a script asks for as commands of the script's own transaction.
pub struct CommandHost<'h, 'c> {
    call: &'h mut Call<'c>,
    began_us: u64,
    /// The clock as it was last looked at.
    now_us: u64,
    /// The keys it has declared.
    keys: Args<'c>,
    /// The words of the command that it calls, in a buffer that is used again.
    words: Words,
    /// Where SCRIPT KILL finds it, when it is not on a worker.
    running: RunningScript<'h>,
    is_read_only: bool,
    /// Why the script was ended.
    stop: Option<Stop>,
    /// Who has killed it: what it has written since `before` is taken back.
    killer: Option<Killer>,
    before: Savepoint,
    effects_len: usize,
    /// How many commands it has run, and what those behind the first ones have added to the figures.
    commands: usize,
    tally: Tally,
    /// What it has published, and what monitors will be shown of it.
    published_bytes: usize,
    shown_bytes: usize,
}

impl<'h, 'c> CommandHost<'h, 'c> {
    /// The host of a script, or of a function of this name.
    pub fn new(
        call: &'h mut Call<'c>,
        function: Option<&[u8]>,
        keys: Args<'c>,
        is_read_only: bool,
    ) -> CommandHost<'h, 'c> {
        let node: &'h Node = call.node;
        let began_us = node.clock.mono_us();
        let running = if call.txn.mode() == Mode::Worker {
            node.running_scripts.begin_on_worker()
        } else {
            let command = call.args;
            let function = function
                .map(|name| RunningFunction { name: name.into(), command: OwnedArgs::from_args(command) });
            let holds = match call.txn.mode() {
                Mode::Dry => Holds::Nothing,
                Mode::Alone => Holds::Everything,
                _ => Holds::Turn,
            };
            node.running_scripts.begin(function, began_us, holds)
        };
        let (before, effects_len) = (call.txn.savepoint(), call.effects.len());
        call.effects.reserve(EFFECTS_FORESEEN);
        CommandHost {
            call,
            began_us,
            now_us: began_us,
            keys,
            words: WORDS.take(),
            running,
            is_read_only,
            stop: None,
            killer: None,
            before,
            effects_len,
            commands: 0,
            tally: Tally::default(),
            published_bytes: 0,
            shown_bytes: 0,
        }
    }

    /// What the end of the run means for the command.
    pub fn end(mut self, ended: script::Outcome) -> Outcome {
        WORDS.set(std::mem::take(&mut self.words));
        if !self.tally.is_empty() {
            self.call.effects.push(Effect::RanMany(Box::new(std::mem::take(&mut self.tally))));
        }
        if self.killer == Some(Killer::Server) {
            return Err(Stop::Unavailable(ENDED.to_owned()));
        }
        if self.killer.is_some() {
            self.call.txn.rewind_failed(&self.before);
            self.call.effects.truncate(self.effects_len);
        }
        match (ended, self.stop) {
            (script::Outcome::Stopped, Some(stop)) => Err(stop),
            (script::Outcome::Stopped, None) => Err(Stop::Heavy),
            (script::Outcome::Done | script::Outcome::Failed { .. }, _) => Ok(()),
        }
    }

    fn stop(&mut self, stop: Stop) -> Result<(), script::Stop> {
        self.stop = Some(stop);
        Err(script::Stop::Again)
    }

    /// Why the script may not run a command, in Redis' words.
    fn refusal(&self, flags: crate::dispatch::spec::Flags) -> Option<String> {
        if flags.has(NoScript) {
            return Some("ERR This Redis command is not allowed from script".to_owned());
        }
        if self.is_read_only && (flags.has(Flag::Write) || flags.has(Flag::MayReplicate)) {
            return Some("ERR Write commands are not allowed from read-only scripts.".to_owned());
        }
        if flags.has(Flag::Write) {
            return self.call.node.keyspace.store().failure().map(|reason| misconf_text(&reason));
        }
        None
    }

    fn run_command(&mut self, args: Args<'_>, proto: Proto, out: &mut Vec<u8>) -> Outcome {
        let mut reply = Reply::new(out, proto);
        let node = self.call.node;
        let Ok(entry) = node.table.find(args) else {
            self.refuse(None, "ERR Unknown Redis command called from script", &mut reply);
            return Ok(());
        };
        let spec = entry.spec;
        let Some(handler) = spec.handler.filter(|_| spec.takes(args.len())) else {
            let text = "ERR Wrong number of args calling Redis command from script";
            self.refuse(Some(entry), text, &mut reply);
            return Ok(());
        };
        if let Some(text) = self.refusal(spec.flags) {
            self.refuse(Some(entry), &text, &mut reply);
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
            let name = args.at(key.index as usize);
            // What it has declared is locked.
            if !self.keys.iter().take(DECLARED_KEYS_COMPARED_MAX).any(|declared| declared == name) {
                let position = Position::of_key(node.keyspace.seed(), name);
                self.call.txn.reach(StripeId::of(position))?;
            }
        }
        let began_us = self.now_us;
        let start = reply.len();
        let quiet = self.call.session.no_touch;
        let mut nested = self.call.nest(args);
        nested.txn.set_quiet(quiet);
        nested.txn.set_counting(spec.flags.has(ReadOnly));
        nested.remember_keys(spec);
        let ran = run_apart(&mut nested, handler, &mut reply);
        nested.show_after(entry);
        let Call { effects, shown, txn, .. } = nested;
        let remapping = txn.into_remapping();
        self.call.txn.take_up(remapping);
        self.shown_bytes += shown.iter().map(|line| line.text.len()).sum::<usize>();
        if self.shown_bytes < SHOWN_BYTES_MAX {
            self.call.shown.extend(shown);
        }
        ran?;
        for effect in effects {
            match effect {
                // The script's own choice: its caller's database stays.
                Effect::Select(database) => self.call.database = database,
                Effect::Publish { ref channel, ref payload, .. } => {
                    self.published_bytes += channel.len() + payload.len() + size_of::<Effect>();
                    if self.published_bytes > PUBLISHED_BYTES_MAX {
                        reply.truncate(start);
                        reply.error("ERR the script publishes too much at once");
                        return Ok(());
                    }
                    self.call.effects.push(effect);
                }
                effect => self.call.effects.push(effect),
            }
        }
        let error = error_in(reply.written().get(start..).unwrap_or_default());
        self.now_us = node.clock.mono_us();
        let duration_us = self.now_us.saturating_sub(began_us);
        self.commands += 1;
        if self.commands > COMMANDS_APART_MAX {
            self.tally.note(Some(entry.index), Some(duration_us), error);
        } else {
            self.call.effects.push(Effect::Ran { command: entry.index, duration_us, error });
            self.call.note_if_slow_in_script(entry, args, duration_us);
        }
        Ok(())
    }

    /// Answers an error to a command that is not run at all.
    fn refuse(&mut self, entry: Option<&Entry>, text: &str, reply: &mut Reply<'_>) {
        reply.error(text);
        self.tally.note(entry.map(|entry| entry.index), None, Some(text.as_bytes().into()));
    }
}

impl Host for CommandHost<'_, '_> {
    fn call(&mut self, words: &[&[u8]], proto: Proto, out: &mut Vec<u8>) -> Result<(), script::Stop> {
        self.tick()?;
        let mut buffer = std::mem::take(&mut self.words);
        buffer.set(words);
        let ran = self.run_command(buffer.args(), proto, out);
        self.words = buffer;
        match ran {
            Ok(()) => Ok(()),
            Err(stop) => self.stop(stop),
        }
    }

    fn tick(&mut self) -> Result<(), script::Stop> {
        self.killer = self.running.killer();
        if self.killer.is_some() {
            return Err(script::Stop::Kill);
        }
        self.now_us = self.call.node.clock.mono_us();
        let took_us = self.now_us.saturating_sub(self.began_us);
        match self.call.txn.mode() {
            Mode::Worker if took_us > WORKER_US_MAX => self.stop(Stop::Heavy),
            // It may go round for ever, for what it sees need not fit together; it was only to warm rows.
            Mode::Dry if took_us > self.call.node.config.busy_after_us().unwrap_or(u64::MAX) => {
                self.stop(Stop::Heavy)
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
        log(level, text);
    }
}

/// `redis.log`.
pub fn log(level: LogLevel, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    match level {
        LogLevel::Debug => tracing::trace!(script = %text),
        LogLevel::Verbose => tracing::debug!(script = %text),
        LogLevel::Notice => tracing::info!(script = %text),
        LogLevel::Warning => tracing::warn!(script = %text),
    }
}
