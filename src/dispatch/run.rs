//! The run: a request through gates, locks, handler and commit.
//!
//! What `prepare` has let pass, `join` runs on a worker as one of a group that is committed together (`group`), `attempt` runs and
//! commits it by itself. Neither ever waits: what stands in the way comes back as a `Pause`, everything gathered is dropped, and the
//! connection sees to it (`server::pause`) and tries again. `dry` warms the block cache on the pool; `probe` tells, on the worker,
//! whether that is needed. What is too much for a worker is for `heavy`.

use super::group::{Group, Settled, Shut};
use super::lookahead::Lookahead;
use super::node::Node;
use super::prepare::misconf_text;
use super::shown::line_of;
use super::spec::Flag;
use super::table::Entry;
use super::{Call, keyspec::KeyAccess};
use crate::base::random::Rng;
use crate::encoding::row::Position;
use crate::keyspace::{
    ColdRow, Committed, Error, Foresight, Holder, LockPlan, Mode, Outcome, RunIdentity, Scratch, Stop,
    StripeId, TimeoutReply, Txn, Wait, Writer,
};
use crate::resp::{Args, Reply};
use crate::session::{Effect, Session};
use crate::store::{Db, Tier, View};
use crate::waiters::Waiter;
use ahash::AHashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What stands in the way of a run.
pub enum Pause {
    /// A row is on disk: warm it and try again. It is named if it was one row that was asked for.
    Cold(Option<ColdRow>),
    /// Too much for a worker: run it on the pool.
    Heavy,
    /// Somebody holds this stripe, or has the turn on it.
    Stripe(StripeId),
    /// The gate is closed.
    Gate,
    /// RocksDB takes no writes at the moment.
    Stall,
    /// It must be alone in the keyspace: run it on the pool, the gate closed.
    Alone,
    /// It waits for a key to be fed; the waiter is enlisted.
    Wait(Arc<Waiter>, Wait),
}

/// A run that is over, its reply written.
#[derive(Default)]
pub struct Ran {
    /// The log must be flushed up to here before the reply may go.
    pub sequence: u64,
    /// What is to be changed outside the data, in order.
    pub effects: Vec<Effect>,
    /// The reply is an error.
    pub failed: bool,
    /// Keys it changed.
    pub changed: usize,
    /// The opening of the store it ran on; 0 when it ran on none.
    pub epoch: u64,
    /// It is one of an open group: its reply rests on what is not committed yet.
    pub pending: bool,
    /// Another one of its group had used one of its keys before.
    pub overlaps: bool,
    /// The group must be settled before the next command.
    pub urgent: bool,
    /// It has ended the connection's MULTI, so that its session is another one: the group must be settled before its next command, not
    /// before those of others.
    pub ends_multi: bool,
}

/// What a thread keeps from run to run.
#[derive(Default)]
pub struct Bench {
    pub(super) scratch: Scratch,
    pub(super) plan: LockPlan,
    /// The commands that will be committed together.
    pub group: Group,
    /// Sees which keys come next.
    pub lookahead: Lookahead,
}

impl Bench {
    /// For a worker; a pool thread has the default.
    pub fn of_worker(number: usize) -> Bench {
        let writer = Writer::worker(number);
        let (scratch, group) = (Scratch::of_writer(writer), Group::of_writer(writer));
        Bench { scratch, group, ..Bench::default() }
    }
}

/// Who runs a command, and on whose behalf.
pub struct Runner<'n> {
    /// The server.
    pub node: &'n Node,
    /// The worker's number.
    pub worker: usize,
}

/// A request on its way: what does not change from attempt to attempt.
pub struct Request<'r> {
    /// The connection.
    pub session: &'r Session,
    /// The command.
    pub entry: &'r Entry,
    /// The words.
    pub args: Args<'r>,
    /// Clock and chance.
    pub run: &'r RunIdentity,
    /// The waiter whose turn it is, when a blocking command runs again.
    pub waiter: Option<&'r Arc<Waiter>>,
    /// What it was waiting for when it was told to look again, for whatever reason: a key of another type is no reason to end.
    pub looks_again: Option<&'r Wait>,
}

/// Fixes the clock (unix microseconds) and the random seed of a request.
pub fn identify(now_us: u64, rng: &mut Rng) -> RunIdentity {
    RunIdentity { now_ms: now_us / 1000, now_us, seed: rng.next_u64() }
}

/// The commands a request stands for: EXEC stands for its queue.
fn for_each_command(node: &Node, request: &Request<'_>, mut visit: impl FnMut(&Entry, Args<'_>)) {
    visit(request.entry, request.args);
    if request.entry.name == "exec"
        && let Some(multi) = &request.session.multi
    {
        for queued in &multi.queue {
            if let Some(entry) = node.table.entry(queued.command) {
                visit(entry, queued.args.args());
            }
        }
    }
}

/// Whether a request has a flag, itself or through what EXEC will run.
pub(super) fn has_flag(node: &Node, request: &Request<'_>, flag: Flag) -> bool {
    let mut found = false;
    for_each_command(node, request, |entry, _| found |= entry.spec.flags.has(flag));
    found
}

pub(super) fn make_plan(node: &Node, request: &Request<'_>, plan: &mut LockPlan) {
    plan.clear();
    let seed = node.keyspace.seed();
    // A script takes what it comes upon exclusively, and could not take what it already shares.
    let reaches = has_flag(node, request, Flag::Reaches);
    let is_exec = request.entry.name == "exec";
    if !is_exec {
        let keys = request.entry.spec.lock_keys(request.args);
        let mut foresight = Foresight::default();
        let namespace = match keys.len() {
            0 | 1 => None,
            _ => node.keyspace.namespace(request.session.database),
        };
        for key in keys {
            let name = request.args.at(key.index as usize);
            let position = Position::of_key(seed, name);
            plan.add(StripeId::of(position), reaches || key.access == KeyAccess::Write);
            if let Some(namespace) = namespace
                && !foresight.is_full()
            {
                foresight.add(&node.keyspace, namespace, position, name);
            }
        }
        foresight.fetch(&node.keyspace);
    } else {
        for_each_command(node, request, |entry, args| {
            for key in entry.spec.lock_keys(args) {
                let position = Position::of_key(seed, args.at(key.index as usize));
                plan.add(StripeId::of(position), reaches || key.access == KeyAccess::Write);
            }
        });
        for watched in &request.session.watched {
            plan.add(StripeId::of(Position::of_key(seed, &watched.name)), reaches);
        }
    }
    plan.seal();
}

/// Whether a request may be one of a group. Blocking commands run by themselves; so do commands without keys, for they may
/// look at figures that only a commit moves, and a waiter's turn, which must be over with its commit. EXEC may be if all that it
/// runs may. If it watches keys, or runs scripts, it runs by itself: who changes a watched key tells of it when he commits, and a
/// script's locks can grow.
pub fn can_join(node: &Node, request: &Request<'_>) -> bool {
    if request.waiter.is_some() {
        return false;
    }
    if request.entry.name != "exec" {
        return is_sociable(request.entry);
    }
    request.session.watched.is_empty()
        && request.session.multi.as_ref().is_some_and(|multi| {
            multi.queue.iter().all(|queued| {
                let entry = node.table.entry(queued.command);
                entry.is_some_and(|entry| is_sociable(entry) && !entry.spec.flags.has(Flag::Reaches))
            })
        })
}

fn is_sociable(entry: &Entry) -> bool {
    let flags = entry.spec.flags;
    let alone =
        [Flag::Blocking, Flag::Heavy, Flag::Gate, Flag::PubSub].into_iter().any(|flag| flags.has(flag));
    entry.spec.has_keys() && !alone
}

/// Whether a command looks at no data at all: it may run beside an open group of others.
pub fn looks_at_nothing(node: &Node, entry: &Entry) -> bool {
    // Monitors are shown what a group has run when it is settled, and in order.
    matches!(entry.name, "multi" | "discard" | "ping" | "echo" | "select") && node.monitors.is_empty()
}

/// Runs a request on a worker as one of the worker's group. The reply is appended to `out`; on a pause nothing is, and the group
/// must be settled before anything is done about it.
pub fn join(
    runner: &Runner<'_>,
    bench: &mut Bench,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Ran, Pause> {
    let flags = request.entry.spec.flags;
    if !bench.group.is_open() && flags.has(Flag::ReadOnly) && !flags.has(Flag::Reaches) {
        return attempt(runner, bench, request, out);
    }
    run_in_group(runner, bench, request, out)
}

fn run_in_group(
    runner: &Runner<'_>,
    bench: &mut Bench,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Ran, Pause> {
    let node = runner.node;
    let keyspace = &node.keyspace;
    let Bench { plan, group, .. } = bench;
    let start = out.len();
    match group.open(keyspace, runner.worker) {
        Ok(()) => {}
        Err(Shut::Gate) => return Err(Pause::Gate),
        Err(Shut::Store(reason)) => return Ok(refuse(request, out, start, misconf_text(&reason))),
    }
    make_plan(node, request, plan);
    let taken = group.take(keyspace, plan).map_err(Pause::Stripe)?;
    let since = group.scratch.savepoint();
    let epoch = group.epoch();
    let Some((db, scratch)) = group.parts() else { return Err(Pause::Gate) };
    let txn = keyspace.begin_behind(db.newest(Tier::Memory), Mode::Worker, request.run, scratch);
    match call_handler(node, request, txn, out) {
        Ok(Finished { call: Call { effects, shown, .. }, .. }) => {
            let ends_multi = effects.iter().any(|effect| matches!(effect, Effect::EndMulti));
            let acts = |effect: &Effect| effect.acts() && !matches!(effect, Effect::EndMulti);
            let urgent = effects.iter().any(acts) || group.is_urgent(keyspace, &since);
            // Who leaves an empty group closes it, and what it has seen is forgotten.
            let sequence = taken.sequence.max(group.seen_sequence());
            let pending = group.leave(keyspace, &taken, &since);
            group.show(&node.monitors, shown);
            let failed = out.get(start) == Some(&b'-');
            let overlaps = taken.overlaps;
            Ok(Ran {
                sequence,
                effects,
                failed,
                epoch,
                pending,
                overlaps,
                urgent,
                ends_multi,
                ..Ran::default()
            })
        }
        Err(stop) => {
            let cold = group.scratch.take_cold();
            // An error, too, tells what the keys are.
            let tells = matches!(stop, Stop::Error(_));
            let sequence = taken.sequence.max(group.seen_sequence());
            group.take_back(keyspace, &taken, &since, tells);
            if tells {
                group.show(&node.monitors, line_of(node, request));
            }
            let mut ran = stopped(node, request, stop, cold, out, start)?;
            if tells {
                (ran.sequence, ran.epoch, ran.pending) = (sequence, epoch, taken.overlaps);
            }
            Ok(ran)
        }
    }
}

/// What a run that came to no end on a worker means for its connection.
fn stopped(
    node: &Node,
    request: &Request<'_>,
    stop: Stop,
    cold: Option<ColdRow>,
    out: &mut Vec<u8>,
    start: usize,
) -> Result<Ran, Pause> {
    out.truncate(start);
    if let (Stop::Error(Error::WrongType), Some(wait)) = (&stop, request.looks_again)
        && wait.keys.len() == 1
    {
        return Err(enlist(node, request, wait.clone()));
    }
    match stop {
        Stop::Cold => Err(Pause::Cold(cold)),
        Stop::Heavy => Err(Pause::Heavy),
        Stop::Stall => Err(Pause::Stall),
        Stop::Wait(wait) => Err(enlist(node, request, wait)),
        Stop::Stripe(stripe) => Err(Pause::Stripe(stripe)),
        Stop::Alone => Err(Pause::Alone),
        Stop::Error(error) => Ok(refuse(request, out, start, error.to_bytes())),
        Stop::Unavailable(reason) => Ok(refuse(request, out, start, unavailable_text(request, &reason))),
        Stop::Damaged(damaged) => Ok(refuse(request, out, start, format!("ERR {damaged}"))),
    }
}

/// Runs a request on a worker and commits it. The reply is appended to `out`; on a pause nothing is. The worker's group must have been
/// settled, unless the request only reads and the group is not open, or looks at nothing.
pub fn attempt(
    runner: &Runner<'_>,
    bench: &mut Bench,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Ran, Pause> {
    let node = runner.node;
    let flags = request.entry.spec.flags;
    if flags.has(Flag::Heavy) || flags.has(Flag::Gate) {
        return Err(Pause::Heavy);
    }
    if request.entry.name == "exec"
        && (has_flag(node, request, Flag::Heavy) || has_flag(node, request, Flag::Gate))
    {
        return Err(Pause::Heavy);
    }
    if has_flag(node, request, Flag::Reaches) {
        return attempt_reaching(runner, bench, request, out);
    }
    let keyspace = &node.keyspace;
    let inside = keyspace.gate().enter(runner.worker + 1);
    if inside.is_none() && !passes_scripts(node, request.entry) {
        return Err(Pause::Gate);
    }
    make_plan(node, request, &mut bench.plan);
    let holder = if request.waiter.is_some() { Holder::Turn } else { Holder::Worker };
    let held = keyspace.stripes().try_lock(&bench.plan, holder).map_err(Pause::Stripe)?;
    let start = out.len();
    let epoch = keyspace.store().epoch();
    let guard = match keyspace.store().db() {
        Ok(guard) => guard,
        Err(error) => return Ok(refuse(request, out, start, misconf_text(&error.0))),
    };
    let Some(db) = guard.as_deref() else { return Ok(refuse(request, out, start, misconf_text("closed"))) };
    let sequence = held.sequence();
    match run_handler(node, request, db.newest(Tier::Memory), Mode::Worker, &mut bench.scratch, out) {
        Ok(mut ran) => {
            ran.sequence = ran.sequence.max(sequence);
            ran.epoch = epoch;
            Ok(ran)
        }
        Err(stop) => {
            // An error, too, tells what the keys are.
            let tells = matches!(stop, Stop::Error(_));
            if tells || matches!(stop, Stop::Wait(_)) {
                keyspace.tell_failed(&mut bench.scratch);
            }
            let mut ran = stopped(node, request, stop, bench.scratch.take_cold(), out, start)?;
            if tells {
                node.monitors.show(line_of(node, request));
                (ran.sequence, ran.epoch) = (sequence, epoch);
            }
            Ok(ran)
        }
    }
}

/// Whether a command runs though a script has closed the gate: SCRIPT KILL and what else is allowed beside it looks at no data.
fn passes_scripts(node: &Node, entry: &Entry) -> bool {
    let looks_at_none = entry.spec.flags.has(Flag::AllowBusy) && !entry.spec.has_keys();
    looks_at_none && node.running_scripts.hold_everything()
}

/// Runs a script, or an EXEC with one, as a group of its own: its locks can grow while it runs.
fn attempt_reaching(
    runner: &Runner<'_>,
    bench: &mut Bench,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Ran, Pause> {
    let start = out.len();
    let ran = run_in_group(runner, bench, request, out)?;
    if !ran.pending {
        return Ok(ran);
    }
    let ticket = bench.group.ticket();
    bench.group.settle(&runner.node.keyspace, &runner.node.clock);
    match ticket.get() {
        Some(Settled::Committed { sequence, changed, .. }) => {
            Ok(Ran { sequence: ran.sequence.max(*sequence), changed: *changed, pending: false, ..ran })
        }
        Some(Settled::Failed(reason)) => Ok(refuse(request, out, start, misconf_text(reason))),
        Some(Settled::Stalled) | None => {
            out.truncate(start);
            Err(Pause::Stall)
        }
    }
}

pub(super) fn unavailable_text(request: &Request<'_>, reason: &str) -> String {
    if request.entry.spec.flags.has(Flag::Write) { misconf_text(reason) } else { format!("ERR {reason}") }
}

/// Writes an error as the reply.
pub(super) fn refuse(request: &Request<'_>, out: &mut Vec<u8>, start: usize, text: impl AsRef<[u8]>) -> Ran {
    out.truncate(start);
    Reply::new(out, request.session.proto).error_bytes(text.as_ref());
    // An EXEC that could not run has ended its transaction nevertheless.
    let ends = request.entry.name == "exec" && request.session.multi.is_some();
    let effects = if ends { vec![Effect::EndMulti] } else { Vec::new() };
    let urgent = !effects.is_empty();
    Ran { failed: true, effects, urgent, ..Ran::default() }
}

/// Puts a blocking command into the queues of its keys, or back to waiting if it had a turn. Its locks are held.
pub(super) fn enlist(node: &Node, request: &Request<'_>, wait: Wait) -> Pause {
    node.monitors.show(line_of(node, request));
    let databases = node.keyspace.databases();
    let (mut keys, mut seen) = (Vec::with_capacity(wait.keys.len()), AHashSet::new());
    for &index in &wait.keys {
        let name = request.args.at(index);
        let Some(database) = databases.get(request.session.database as usize) else { continue };
        let position = Position::of_key(node.keyspace.seed(), name);
        let row = crate::encoding::row::head_row(database.namespace(), position, name);
        if seen.insert(row.clone()) {
            keys.push(row);
        }
    }
    if let Some(waiter) = request.waiter {
        // Its rows are other ones now if its database was emptied or swapped after it was fed.
        if waiter.keys() == keys {
            waiter.wait_again();
            return Pause::Wait(Arc::clone(waiter), wait);
        }
        node.keyspace.waiters().withdraw(waiter);
    }
    let waiter = Waiter::new(request.session.client.id, wait.wants, wait.service, keys);
    node.keyspace.waiters().enlist(&waiter);
    Pause::Wait(waiter, wait)
}

/// What a blocking command answers when its time is up.
pub fn timeout_reply(session: &Session, wait: &Wait, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, session.proto);
    match wait.on_timeout {
        TimeoutReply::NullArray => reply.null_array(),
        TimeoutReply::Null => reply.null(),
    }
}

/// The handler and the commit. The caller holds what `mode` asks for.
pub(super) fn run_handler(
    node: &Node,
    request: &Request<'_>,
    view: View<'_>,
    mode: Mode,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Outcome<Ran> {
    let txn = node.keyspace.begin(view, mode, request.run, scratch);
    let mut finished = call_handler(node, request, txn, out)?;
    let wait = finished.call.wait.take();
    let ran = commit(finished, out)?;
    wait.map_or(Ok(ran), |wait| Err(Stop::Wait(wait)))
}

pub(super) fn commit(call: Finished<'_>, out: &[u8]) -> Outcome<Ran> {
    let Finished { call, start } = call;
    let Call { effects, shown, node, txn, .. } = call;
    let Committed { sequence, changed } = txn.commit()?;
    node.monitors.show(shown);
    Ok(Ran { sequence, effects, failed: out.get(start) == Some(&b'-'), changed, ..Ran::default() })
}

/// A handler's call that has written its reply and waits for its commit.
pub(super) struct Finished<'c> {
    pub(super) call: Call<'c>,
    start: usize,
}

pub(super) fn call_handler<'c>(
    node: &'c Node,
    request: &Request<'c>,
    mut txn: Txn<'c>,
    out: &mut Vec<u8>,
) -> Outcome<Finished<'c>> {
    let Some(handler) = request.entry.spec.handler else {
        return Err(Error::Arity(request.entry.name.into()).into());
    };
    let start = out.len();
    txn.set_author(request.session.client.id);
    txn.set_quiet(request.session.no_touch);
    txn.set_counting(request.entry.spec.flags.has(Flag::ReadOnly));
    let mut call = Call {
        txn,
        args: request.args,
        session: request.session,
        node,
        database: request.session.database,
        in_exec: false,
        effects: Vec::new(),
        from_script: false,
        tracking: request.session.tracking.clone(),
        shown: Vec::new(),
        wait: None,
    };
    call.show_before(request.entry);
    call.remember_keys(request.entry.spec);
    let mut reply = Reply::new(out, request.session.proto);
    match catch_unwind(AssertUnwindSafe(|| handler(&mut call, &mut reply))) {
        Ok(outcome) => {
            outcome?;
            if request.waiter.is_none() && call.wait.is_none() {
                call.show_after(request.entry);
            }
            Ok(Finished { call, start })
        }
        Err(_) => {
            Err(Stop::Error(Error::text("ERR internal error: the command was given up, nothing was changed")))
        }
    }
}

/// What a request would find cold: a dry run in memory only, without locks, on the worker.
pub fn probe(
    node: &Node,
    bench: &mut Bench,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Option<Option<ColdRow>> {
    let start = out.len();
    let cold = with_db(node, |db| {
        let view = db.newest(Tier::Memory);
        let txn = node.keyspace.begin(view, Mode::Dry, request.run, &mut bench.scratch);
        matches!(call_handler(node, request, txn, out), Err(Stop::Cold))
    });
    out.truncate(start);
    cold.unwrap_or(false).then(|| bench.scratch.take_cold())
}

/// Runs a request on the pool for nothing but to bring the rows it reads into the block cache.
pub fn dry(node: &Node, request: &Request<'_>) {
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    let ended = with_db(node, |db| {
        let snapshot = db.snapshot();
        let view = View { db, snapshot: Some(&snapshot), tier: Tier::Disk };
        let txn = node.keyspace.begin(view, Mode::Dry, request.run, &mut scratch);
        call_handler(node, request, txn, &mut out).map(|_| ())
    });
    if let Some(reason) = ended.ok().and_then(Result::err).and_then(Stop::trouble) {
        tracing::warn!(command = request.entry.name, reason, "a dry run failed");
    }
}

pub(super) fn with_db<T>(node: &Node, work: impl FnOnce(&Db) -> T) -> Result<T, String> {
    node.keyspace.store().with_db(work).map_err(|error| error.0)
}
