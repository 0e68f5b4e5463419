//! Group commit: the commands that a worker runs in one turn of its loop become one write to RocksDB.
//!
//! A command that joins the group runs at once, sees what those before it have written, and keeps its exclusive stripes locked;
//! what it only read is free again as soon as it has run. Nothing of the group is real until it is settled: one batch, then the
//! hot tier, then the locks are released. A row that several commands wrote reaches the memtable once. Each command is still
//! whole or absent after a crash, for a batch is whole or absent.
//!
//! A group lives from a worker's first write in a turn of the loop until the first connection of that turn wants its replies out, or
//! has worked on a long pipeline for a millisecond. It is settled earlier when it is full, when a command that cannot join comes (a
//! blocking or keyless one), and when it feeds a key that somebody waits for. What a stalled group has run is run again, each
//! command by itself.
//!
//! Locks: stripes are gathered one by one and never waited for (`keyspace::Gathering`); who cannot get one settles the group
//! before waiting for anything. The gate is held as long as the group is open.

use crate::base::clock::Clock;
use crate::keyspace::{
    Keyspace, LockPlan, Mode, RunIdentity, Savepoint, Scratch, Stop, StripeId, Taken, Writer,
};
use crate::pubsub::{Line, Monitors};
use crate::store::{Db, Tier};
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

/// A group of so many commands is settled at once: its locks are held no longer than some hundred microseconds.
const COMMANDS_MAX: u64 = 128;
/// So is one of so many bytes.
const BYTES_MAX: usize = 256 << 10;

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It is written.
    Committed {
        /// Its replies wait until the log is flushed up to here.
        sequence: u64,
        /// Keys changed; one that several commands changed counts for each.
        changed: usize,
        /// Each command's part of the time the commit took, microseconds.
        share_us: u64,
    },
    /// RocksDB takes no writes at the moment: nothing is written.
    Stalled,
    /// The write failed; why.
    Failed(String),
}

/// Tells the connections whose commands are in a group what became of it; empty while it is open.
pub type Ticket = Rc<OnceCell<Settled>>;

/// Why a group could not be opened.
pub(super) enum Shut {
    /// The gate is closed.
    Gate,
    /// There is no database; why.
    Store(String),
}

/// A worker's group.
#[derive(Default)]
pub struct Group {
    pub(super) scratch: Scratch,
    db: Option<Arc<Db>>,
    epoch: u64,
    slot: usize,
    commands: u64,
    ticket: Ticket,
    /// What monitors will be shown of it.
    shown: Vec<Line>,
    monitors: Option<Arc<Monitors>>,
}

impl Group {
    pub(super) fn of_writer(writer: Writer) -> Group {
        Group { scratch: Scratch::of_writer(writer), ..Group::default() }
    }

    /// True from its first command until it is settled.
    pub fn is_open(&self) -> bool {
        self.db.is_some()
    }

    /// Where to learn what becomes of the group as it is now.
    pub fn ticket(&self) -> Ticket {
        Rc::clone(&self.ticket)
    }

    /// Opens the group for a worker, if it is not open.
    pub(super) fn open(&mut self, keyspace: &Keyspace, worker: usize) -> Result<(), Shut> {
        if self.is_open() {
            return Ok(());
        }
        self.slot = worker + 1;
        if !keyspace.gate().hold(self.slot) {
            return Err(Shut::Gate);
        }
        self.epoch = keyspace.store().epoch();
        let found = keyspace.store().db().map(|guard| guard.as_ref().map(Arc::clone));
        match found {
            Ok(Some(db)) => self.db = Some(db),
            unavailable => {
                keyspace.gate().leave(self.slot);
                return Err(Shut::Store(
                    unavailable.err().map_or_else(|| "closed".to_owned(), |error| error.0),
                ));
            }
        }
        self.scratch.clear();
        Ok(())
    }

    /// The opening of the store that the group works on.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The highest sequence that any of its commands has seen beyond its locks.
    pub(super) fn seen_sequence(&self) -> u64 {
        self.scratch.seen_sequence()
    }

    /// The database, and the writes so far.
    pub(super) fn parts(&mut self) -> Option<(&Db, &mut Scratch)> {
        Some((self.db.as_deref()?, &mut self.scratch))
    }

    pub(super) fn take(&mut self, keyspace: &Keyspace, plan: &LockPlan) -> Result<Taken, StripeId> {
        let taken = self.scratch.locks().take(keyspace.stripes(), plan);
        if taken.is_err() {
            self.close_if_empty(keyspace);
        }
        taken
    }

    /// A command has run. What it has written stays, or there was nothing and its locks are free again. True when its reply
    /// rests on what is not committed yet.
    pub(super) fn leave(&mut self, keyspace: &Keyspace, taken: &Taken, since: &Savepoint) -> bool {
        let has_written = self.scratch.has_written(since);
        // A key that a script came upon may be one that others of the group have written.
        let may_overlap = self.scratch.take_reached() && !taken.is_first();
        if has_written {
            self.scratch.locks().keep(keyspace.stripes(), taken);
        } else {
            if self.scratch.has_states(since) {
                self.scratch.rewind_rows(since);
            }
            self.scratch.locks().give_back(keyspace.stripes(), taken);
        }
        self.commands += 1;
        self.close_if_empty(keyspace);
        has_written || taken.overlaps || may_overlap
    }

    /// A command has failed or cannot go on: nothing of it is left. If it is over, what it has looked up counts.
    pub(super) fn take_back(&mut self, keyspace: &Keyspace, taken: &Taken, since: &Savepoint, is_over: bool) {
        if is_over {
            self.scratch.rewind_failed(since);
        } else {
            self.scratch.rewind(since);
        }
        self.scratch.take_reached();
        self.scratch.locks().give_back(keyspace.stripes(), taken);
        self.close_if_empty(keyspace);
    }

    /// True when it must be settled now: it is full, or what was written since feeds somebody who waits.
    pub(super) fn is_urgent(&self, keyspace: &Keyspace, since: &Savepoint) -> bool {
        let waiters = keyspace.waiters();
        self.commands >= COMMANDS_MAX
            || self.scratch.bytes() > BYTES_MAX
            || (!waiters.is_empty() && self.scratch.changed_since(since).any(|row| waiters.is_wanted(row)))
    }

    /// What monitors are to be shown of a command that has left the group or failed in it: in the order of the runs.
    pub(super) fn show(&mut self, monitors: &Arc<Monitors>, lines: Vec<Line>) {
        if lines.is_empty() {
            return;
        }
        if self.is_open() {
            self.shown.extend(lines);
            self.monitors = Some(Arc::clone(monitors));
        } else {
            monitors.show(lines);
        }
    }

    /// Makes the group real, all of it or nothing; whoever holds its ticket learns what became of it.
    pub fn settle(&mut self, keyspace: &Keyspace, clock: &Clock) {
        let Some(db) = self.db.clone() else { return };
        let started_us = clock.mono_us();
        let run = RunIdentity { now_ms: clock.now_ms(), now_us: clock.now_us(), seed: 0 };
        let txn = keyspace.begin_behind(db.newest(Tier::Memory), Mode::Worker, &run, &mut self.scratch);
        let settled = match txn.commit() {
            Ok(committed) => {
                let share_us = clock.mono_us().saturating_sub(started_us) / self.commands.max(1);
                Settled::Committed { sequence: committed.sequence, changed: committed.changed, share_us }
            }
            Err(Stop::Stall) => {
                keyspace.figures().count_stalled_run();
                Settled::Stalled
            }
            Err(stop) => {
                Settled::Failed(stop.trouble().unwrap_or_else(|| "the write was given up".to_owned()))
            }
        };
        let shown = std::mem::take(&mut self.shown);
        if let Some(monitors) = self.monitors.take()
            && matches!(settled, Settled::Committed { .. })
        {
            // Under the locks; what has stalled is shown when it runs again.
            monitors.show(shown);
        }
        self.close(keyspace);
        // Nobody else sets it, and only once.
        let _ = std::mem::take(&mut self.ticket).set(settled);
    }

    /// Without a lock nothing was written, and no reply rests on it.
    fn close_if_empty(&mut self, keyspace: &Keyspace) {
        if self.scratch.locks().is_empty() {
            if self.scratch.has_notes() {
                keyspace.tell_events(&mut self.scratch);
            }
            keyspace.report_lookups(&mut self.scratch);
            self.close(keyspace);
        }
    }

    fn close(&mut self, keyspace: &Keyspace) {
        self.scratch.locks().release_all(keyspace.stripes());
        self.scratch.clear();
        self.db = None;
        self.commands = 0;
        keyspace.gate().leave(self.slot);
    }
}
