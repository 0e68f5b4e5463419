//! The run of a heavy command, on the pool: at first from a snapshot without locks, at last under them, or alone.

use super::node::Node;
use super::run::{
    Bench, Pause, Ran, Request, call_handler, commit, enlist, has_flag, make_plan, refuse, run_handler,
    unavailable_text, with_db,
};
use super::shown::line_of;
use super::spec::Flag;
use crate::keyspace::{Holder, Indexing, Mode, Stop};
use crate::store::{Db, Tier, View};
use std::sync::Arc;

/// Attempts from a snapshot before the command runs under its locks.
const ATTEMPTS_MAX: u32 = 3;

/// Runs a request on the pool, to its end; `alone` with the gate closed. The reply is appended to `out`.
pub fn run(node: &Node, request: &Request<'_>, alone: bool, out: &mut Vec<u8>) -> Result<Ran, Pause> {
    node.keyspace.figures().count_heavy_run();
    let start = out.len();
    let epoch = node.keyspace.store().epoch();
    let mut bench = Bench::default();
    let ended = run_in_turn(node, request, alone, &mut bench, out);
    if matches!(ended, Err(End::Pause(_) | End::Stop(Stop::Error(_)))) {
        node.keyspace.tell_failed(&mut bench.scratch);
    }
    match ended {
        Ok(ran) => Ok(ran),
        Err(End::Pause(pause)) => {
            out.truncate(start);
            Err(pause)
        }
        Err(End::Stop(Stop::Error(error))) => {
            let mut ran = refuse(request, out, start, error.to_bytes());
            node.monitors.show(line_of(node, request));
            ran.sequence = with_db(node, Db::latest_sequence).unwrap_or(0);
            ran.epoch = epoch;
            Ok(ran)
        }
        Err(End::Stop(Stop::Stall)) => {
            out.truncate(start);
            Err(Pause::Stall)
        }
        Err(End::Stop(Stop::Unavailable(reason))) => {
            Ok(refuse(request, out, start, unavailable_text(request, &reason)))
        }
        Err(End::Stop(Stop::Damaged(damaged))) => Ok(refuse(request, out, start, format!("ERR {damaged}"))),
        Err(End::Stop(_) | End::Closed | End::Taken | End::Conflicts) => {
            Ok(refuse(request, out, start, b"ERR the command could not be run on the pool"))
        }
    }
}

enum End {
    Stop(Stop),
    Pause(Pause),
    /// The gate was closed when it wanted to commit.
    Closed,
    /// Somebody had one of its stripes for longer than a moment.
    Taken,
    /// Others were in its way too often, or only a run under its locks can tell.
    Conflicts,
}

impl From<Stop> for End {
    fn from(stop: Stop) -> End {
        End::Stop(stop)
    }
}

/// The three ways of a heavy command. A reopen closes the gate and then waits until nobody uses the database: so the gate is
/// waited for before the database is taken, never while it is held.
fn run_in_turn(
    node: &Node,
    request: &Request<'_>,
    alone: bool,
    bench: &mut Bench,
    out: &mut Vec<u8>,
) -> Result<Ran, End> {
    let keyspace = &node.keyspace;
    if alone || has_flag(node, request, Flag::Gate) {
        return run_alone(node, request, bench, out);
    }
    make_plan(node, request, &mut bench.plan);
    let start = out.len();
    bench.scratch.indexing = Indexing::Wanted;
    let mut taken = 0;
    loop {
        match on_db(node, |db| run_from_snapshots(node, db, request, bench, out)) {
            Err(End::Closed) => {
                out.truncate(start);
                drop(keyspace.gate().enter_pool());
            }
            Err(End::Taken) if taken < ATTEMPTS_MAX => {
                out.truncate(start);
                taken += 1;
                keyspace.figures().count_conflict();
                drop(keyspace.lock_inside(&bench.plan, holder_of(request)));
            }
            Err(End::Taken) => break,
            // Nothing but a rank index would spare it a long walk.
            Err(End::Stop(Stop::Heavy)) => {
                out.truncate(start);
                if let Some(ended) = index_in_slices(node, request, bench, out) {
                    return ended;
                }
                bench.scratch.indexing = Indexing::Usual;
            }
            Err(End::Conflicts) => break,
            Err(End::Stop(Stop::Alone)) => {
                out.truncate(start);
                return run_alone(node, request, bench, out);
            }
            ended => return ended,
        }
    }
    out.truncate(start);
    keyspace.figures().count_last_resort();
    if has_flag(node, request, Flag::Reaches) {
        return run_alone(node, request, bench, out);
    }
    let locked = keyspace.lock_inside(&bench.plan, holder_of(request));
    let sequence = locked.sequence();
    let ended = on_db(node, |db| {
        Ok(run_handler(node, request, db.newest(Tier::Disk), Mode::Locked, &mut bench.scratch, out)?)
    });
    match ended {
        Ok(mut ran) => {
            ran.sequence = ran.sequence.max(sequence);
            Ok(ran)
        }
        Err(End::Stop(Stop::Wait(wait))) => Err(End::Pause(enlist(node, request, wait))),
        ended => ended,
    }
}

/// Attempts in a row that a cold row ends, before a command gives up on the index it wants.
const COLD_SLICES_MAX: u32 = 8;

/// Runs a request under its locks for a millisecond at a time, until the rank indexes it wants are complete (see keyspace/ranks) and it
/// goes through. Its rows are warmed between, without locks. Nothing when this is not its way: it has other heavy work to do.
fn index_in_slices(
    node: &Node,
    request: &Request<'_>,
    bench: &mut Bench,
    out: &mut Vec<u8>,
) -> Option<Result<Ran, End>> {
    let keyspace = &node.keyspace;
    let start = out.len();
    bench.scratch.indexing = Indexing::building();
    let (mut cold, mut rows) = (0, 0);
    while cold < COLD_SLICES_MAX {
        let ended = {
            let locked = keyspace.lock_inside(&bench.plan, holder_of(request));
            let sequence = locked.sequence();
            on_db(node, |db| {
                let view = db.newest(Tier::Memory);
                let ran = run_handler(node, request, view, Mode::Locked, &mut bench.scratch, out)?;
                Ok(Ran { sequence: ran.sequence.max(sequence), ..ran })
            })
        };
        match ended {
            Err(End::Stop(Stop::Cold)) => {}
            Err(End::Stop(Stop::Heavy | Stop::Wait(_) | Stop::Alone)) => break,
            ended => return Some(ended),
        }
        let rows_now = bench.scratch.indexing.rows();
        cold = if rows_now > rows { 0 } else { cold + 1 };
        rows = rows_now;
        let _ = on_db(node, |db| {
            let snapshot = db.snapshot();
            let view = View { db, snapshot: Some(&snapshot), tier: Tier::Disk };
            out.truncate(start);
            let txn = keyspace.begin(view, Mode::Dry, request.run, &mut bench.scratch);
            let _ = call_handler(node, request, txn, out);
            Ok(Ran::default())
        });
        out.truncate(start);
    }
    out.truncate(start);
    None
}

fn run_alone(node: &Node, request: &Request<'_>, bench: &mut Bench, out: &mut Vec<u8>) -> Result<Ran, End> {
    let _alone = node.keyspace.gate().close();
    on_db(node, |db| {
        Ok(run_handler(node, request, db.newest(Tier::Disk), Mode::Alone, &mut bench.scratch, out)?)
    })
}

fn holder_of(request: &Request<'_>) -> Holder {
    if request.waiter.is_some() { Holder::Turn } else { Holder::Pool }
}

fn on_db(node: &Node, work: impl FnOnce(&Db) -> Result<Ran, End>) -> Result<Ran, End> {
    // No reopen while the database is in use: the epoch is the one of what was read and written.
    match with_db(node, |db| (work(db), node.keyspace.store().epoch())) {
        Ok((ended, epoch)) => ended.map(|ran| Ran { epoch, ..ran }),
        Err(reason) => Err(End::Stop(Stop::Unavailable(reason))),
    }
}

/// Runs from a snapshot, then takes the locks and commits if nothing has changed since; a few times.
fn run_from_snapshots(
    node: &Node,
    db: &Db,
    request: &Request<'_>,
    bench: &mut Bench,
    out: &mut Vec<u8>,
) -> Result<Ran, End> {
    let keyspace = &node.keyspace;
    let start = out.len();
    let Bench { scratch, plan, .. } = bench;
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = db.snapshot();
        let databases = keyspace.databases();
        let view = View { db, snapshot: Some(&snapshot), tier: Tier::Disk };
        let txn = keyspace.begin(view, Mode::Heavy, request.run, scratch);
        let mut finished = match call_handler(node, request, txn, out) {
            // Only a run that holds its locks may wait, and only such a run knows that there is nothing to take.
            Ok(finished) if finished.call.wait.is_some() => return Err(End::Conflicts),
            Ok(finished) => finished,
            Err(Stop::Wait(_)) => return Err(End::Conflicts),
            Err(stop) => return Err(stop.into()),
        };
        if finished.call.txn.writes() == 0 && !finished.call.has_cached_late(plan, snapshot.sequence()) {
            let mut ran = commit(finished, out)?;
            ran.sequence = ran.sequence.max(snapshot.sequence());
            return Ok(ran);
        }
        plan.extend(&finished.call.txn.take_noted());
        plan.seal();
        let Some(_inside) = keyspace.gate().enter(0) else { return Err(End::Closed) };
        let Some(held) = keyspace.stripes().lock_soon(plan, holder_of(request)) else {
            return Err(End::Taken);
        };
        if held.sequence() <= snapshot.sequence() && Arc::ptr_eq(&databases, &keyspace.databases()) {
            return Ok(commit(finished, out)?);
        }
        drop(finished);
        out.truncate(start);
        keyspace.figures().count_conflict();
    }
    Err(End::Conflicts)
}
