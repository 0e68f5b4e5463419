//! What a command is, and how one is run.
//!
//! A `Command` is a `Spec` (see `spec`) with a `Handler`: a synchronous function that reads its `Call`, writes a reply and
//! touches nothing else. `run` takes a request through the gates, the locks, the handler and the commit. `table` finds commands
//! by name. `node` is what all connections of a server share, `running` its long scripts.

pub mod ahead;
pub mod apart;
pub mod docs;
pub mod group;
pub mod heavy;
pub mod keyspec;
pub mod lookahead;
pub mod node;
pub mod pauses;
pub mod prepare;
pub mod run;
pub mod running;
mod shown;
pub mod slowlog;
pub mod spec;
pub mod syntax;
pub mod table;
mod unknown;
pub mod words;

use crate::keyspace::{Key, LockPlan, Mode, Outcome, Txn, Wait};
use crate::pubsub::Line;
use crate::resp::{Args, OwnedArgs, Reply};
use crate::session::{Effect, Session};
use crate::tracking::Options;
use node::Node;
use spec::Flag;
use std::sync::Arc;
use table::Entry;

/// What runs a command. It may be run several times for one request; only the last run counts.
pub type Handler = fn(&mut Call<'_>, &mut Reply<'_>) -> Outcome;

/// A command with its handler.
pub type Command = spec::Spec<Handler>;

/// What a handler sees: its arguments, the data, its connection, the server.
pub struct Call<'c> {
    /// The data.
    pub txn: Txn<'c>,
    /// The request, the command's name first.
    pub args: Args<'c>,
    /// The connection as it was when the request came.
    pub session: &'c Session,
    /// The server.
    pub node: &'c Node,
    /// The selected database; SELECT within EXEC changes it for the commands behind it.
    pub database: u32,
    /// The command runs inside EXEC: it may not wait.
    pub in_exec: bool,
    /// What the command changes outside the data, once it has committed.
    pub effects: Vec<Effect>,
    /// A script runs it.
    pub from_script: bool,
    /// How the connection tracks keys; CLIENT TRACKING within EXEC changes it for the commands behind it.
    pub tracking: Option<Arc<Options>>,
    /// What monitors will be shown of it.
    pub shown: Vec<Line>,
    /// What it has written is to be committed, and then it waits. The reply must be empty.
    pub wait: Option<Wait>,
}

impl<'c> Call<'c> {
    /// The key at an argument, in the selected database.
    pub fn key(&self, index: usize) -> Key {
        self.key_named(self.args.at(index))
    }

    /// The key of these bytes in the selected database.
    pub fn key_named(&self, name: &[u8]) -> Key {
        self.txn.key(self.database, name)
    }

    /// Remembers which keys a client that caches is about to read, before their values are looked at.
    pub fn remember_keys(&self, spec: &Command) {
        let Some(tracking) = &self.tracking else { return };
        if !spec.flags.has(Flag::ReadOnly) || self.txn.mode() == Mode::Dry {
            return;
        }
        // Many effects of an EXEC are looked through only where it matters.
        let matters = tracking.remembers(true) != tracking.remembers(false);
        let chooses = |effect: &Effect| matches!(effect, Effect::ChooseCaching);
        let has_chosen = self.session.has_chosen || (matters && self.effects.iter().any(chooses));
        if !tracking.remembers(has_chosen) {
            return;
        }
        for key in spec.lock_keys(self.args) {
            self.node.tracking.remember(self.session.client.id, self.args.at(key.index as usize));
        }
    }

    /// Whether a client that caches has read, from a snapshot of this sequence, what may have changed before it was remembered.
    pub fn has_cached_late(&mut self, plan: &mut LockPlan, sequence: u64) -> bool {
        if self.tracking.is_none() {
            return false;
        }
        plan.extend(&self.txn.take_noted());
        plan.iter().any(|(id, _)| self.node.keyspace.stripes().sequence(id) > sequence)
    }

    /// The call of a command within this one (of a script): it sees what was written so far. Give its transaction's end back by
    /// `Txn::take_up`, its effects by appending them.
    pub fn nest<'n>(&'n mut self, args: Args<'n>) -> Call<'n>
    where
        'c: 'n,
    {
        Call {
            txn: self.txn.nest(),
            args,
            session: self.session,
            node: self.node,
            database: self.database,
            in_exec: true,
            effects: Vec::new(),
            from_script: true,
            tracking: self.tracking.clone(),
            shown: Vec::new(),
            wait: None,
        }
    }

    /// Leaves a command of EXEC for the slow log if it was slow: this one, with its number in the table.
    pub fn note_if_slow(&mut self, command: usize, duration_us: u64) {
        if let Some(entry) = self.node.table.entries().get(command) {
            self.leave_if_slow(entry, self.args, duration_us, false);
        }
    }

    /// The same for one that this script has run.
    pub fn note_if_slow_in_script(&mut self, entry: &Entry, args: Args<'_>, duration_us: u64) {
        self.leave_if_slow(entry, args, duration_us, true);
    }

    fn leave_if_slow(&mut self, entry: &Entry, args: Args<'_>, duration_us: u64, by_script: bool) {
        if slowlog::is_slow(&self.node.config, duration_us) && !entry.spec.flags.has(Flag::SkipSlowlog) {
            let args = OwnedArgs::from_args(args);
            self.effects.push(Effect::Slow { args, command: entry.name, duration_us, by_script });
        }
    }
}
