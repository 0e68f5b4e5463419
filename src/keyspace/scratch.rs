//! What runs write, of one command or of several that are committed together: rows (in the overlay), the keys they touched as they
//! were before, and what else the commit must know. A savepoint marks where a command begins, so that one that fails leaves
//! nothing behind.
//!
//! No lock of its own: it belongs to one thread. The stripes that the runs hold are kept with it.

use super::building::Intent;
use super::databases::Writer;
use super::events::Note;
use super::filling::ColdRow;
use super::gathering::Gathering;
use super::marks::Marked;
use super::overlay::{Mark, Overlay};
use super::ranks::Indexing;
use super::stripes::LockPlan;
use super::txn::Key;
use crate::encoding::Family;
use crate::encoding::row::{Place, RowKey, head_row_hash};
use crate::hot::RowValue;
use hashbrown::HashTable;
use smallvec::SmallVec;

/// A key the run has touched for writing, as it was before.
#[derive(Debug)]
pub(super) struct KeyState {
    pub(super) key: Key,
    /// The head row's value before the run, expired or not.
    pub(super) before: Option<RowValue>,
    /// The number of the last command that changed something under the key; 0 when none has.
    pub(super) changed_by: u32,
}

/// Rows from `lower` (included) to `upper` (excluded) that go with one deletion.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) family: Family,
    pub(super) lower: RowKey,
    pub(super) upper: RowKey,
    /// How many rows had been written before: those go with it, later ones stay.
    pub(super) at: usize,
}

/// What runs write: of one command, or of several that are committed together. Its memory is used again.
#[derive(Default)]
pub struct Scratch {
    pub(super) overlay: Overlay,
    pub(super) states: Vec<KeyState>,
    /// Finds a state by its head row, once there are too many to look through.
    state_index: HashTable<usize>,
    /// Every change of a key by a command, in order: the state, and the command that had changed it before.
    pub(super) changes: Vec<(u32, u32)>,
    /// The number of the command that runs.
    pub(super) command: u32,
    /// Places the runs have made; those no head points to at the end never reach the disk.
    pub(super) made: Vec<Place>,
    /// Stretches of rows that no head reaches any more.
    pub(super) cut: Vec<Cut>,
    /// Those of the places with rows on disk already.
    pub(super) intents: Vec<Intent>,
    /// The highest sequence the runs have seen.
    pub(super) sequence: u64,
    pub(super) hits: u32,
    pub(super) misses: u32,
    /// Events to be told when this is committed, in order.
    pub(super) notes: Vec<Note>,
    /// The client on whose behalf the last command runs.
    pub(super) author: u64,
    /// Who will commit.
    pub(super) writer: Writer,
    /// The stripes that the runs hold.
    pub(super) locks: Gathering,
    /// The stripes of keys that a script has come upon in a run without locks.
    pub(super) noted: LockPlan,
    /// A script has used a key that it had not declared.
    pub(super) reached: bool,
    /// The row on disk that has ended the last run, if it was one row.
    pub(super) cold: Option<ColdRow>,
    /// Room for building values. Free to use between two calls of the transaction.
    pub buffer: Vec<u8>,
    /// Marks of a list that a run has gathered; they are good for its own commit only.
    pub(super) marked: Option<Marked>,
    /// What becomes of a question for a rank that no index answers. Stays from run to run.
    pub indexing: Indexing,
}

/// A state of a `Scratch` to go back to.
#[derive(Debug, Clone, Copy)]
pub struct Savepoint {
    overlay: Mark,
    states: usize,
    changes: usize,
    made: usize,
    cut: usize,
    notes: usize,
    lookups: (u32, u32),
}

fn state_hash(row: &RowKey) -> u64 {
    head_row_hash(row).unwrap_or_default()
}

/// States looked through one by one; an index beyond.
const STATES_LINEAR_MAX: usize = 12;

impl Scratch {
    /// For a worker's commits; the pool's have the default.
    pub fn of_writer(writer: Writer) -> Scratch {
        Scratch { writer, ..Scratch::default() }
    }

    pub(super) fn find_state(&self, row: &RowKey) -> Option<usize> {
        if self.states.len() > STATES_LINEAR_MAX {
            let is_it = |&index: &usize| self.states[index].key.row() == row;
            return self.state_index.find(state_hash(row), is_it).copied();
        }
        self.states.iter().rposition(|state| state.key.row() == row)
    }

    pub(super) fn push_state(&mut self, state: KeyState) {
        self.states.push(state);
        if self.states.len() > STATES_LINEAR_MAX {
            for index in self.state_index.len()..self.states.len() {
                let of = |&index: &usize| state_hash(self.states[index].key.row());
                self.state_index.insert_unique(of(&index), index, of);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.overlay.clear();
        self.states.clear();
        self.state_index.clear();
        self.changes.clear();
        self.made.clear();
        self.cut.clear();
        self.intents.clear();
        self.notes.clear();
        self.noted.clear();
        self.marked = None;
        (self.command, self.sequence, self.hits, self.misses) = (0, 0, 0, 0);
        self.buffer.clear();
        if self.buffer.capacity() > 1 << 20 {
            self.buffer = Vec::new();
        }
    }

    /// The row on disk that has ended the last run, if it was one row; it is taken out.
    pub fn take_cold(&mut self) -> Option<ColdRow> {
        self.cold.take()
    }

    /// Where things stand.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            overlay: self.overlay.mark(),
            states: self.states.len(),
            changes: self.changes.len(),
            made: self.made.len(),
            cut: self.cut.len(),
            notes: self.notes.len(),
            lookups: (self.hits, self.misses),
        }
    }

    /// Takes back everything since `to`.
    pub fn rewind(&mut self, to: &Savepoint) {
        self.overlay.rewind(to.overlay);
        for (state, before) in self.changes.drain(to.changes..).rev() {
            if let Some(state) = self.states.get_mut(state as usize) {
                state.changed_by = before;
            }
        }
        for (index, state) in self.states.drain(to.states..).enumerate() {
            let is_it = |&other: &usize| other == to.states + index;
            if let Ok(entry) = self.state_index.find_entry(state_hash(state.key.row()), is_it) {
                entry.remove();
            }
        }
        if self.states.len() <= STATES_LINEAR_MAX {
            self.state_index.clear();
        }
        self.made.truncate(to.made);
        self.cut.truncate(to.cut);
        self.notes.truncate(to.notes);
        (self.hits, self.misses) = to.lookups;
    }

    /// The same, but for the events and the lookups: of a command that has come to its end and written nothing.
    pub fn rewind_rows(&mut self, to: &Savepoint) {
        self.rewind(&Savepoint { notes: self.notes.len(), lookups: (self.hits, self.misses), ..*to });
    }

    /// The same for a command that has failed: what it has looked up counts, and what was not there is told.
    pub fn rewind_failed(&mut self, to: &Savepoint) {
        let missed: SmallVec<[Note; 1]> = self.notes.drain(to.notes..).filter(Note::is_miss).collect();
        self.notes.extend(missed);
        self.rewind_rows(to);
    }

    /// Keys that were looked up and were there, and that were not, since this was last asked.
    pub fn take_lookups(&mut self) -> (u32, u32) {
        (std::mem::take(&mut self.hits), std::mem::take(&mut self.misses))
    }

    /// Events are noted that no commit has told yet.
    pub fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// True when keys were looked at for writing since `since`, whether or not something was written.
    pub fn has_states(&self, since: &Savepoint) -> bool {
        self.states.len() > since.states
    }

    /// True when rows were written since `since`.
    pub fn has_written(&self, since: &Savepoint) -> bool {
        self.overlay.mark() != since.overlay
    }

    /// The highest sequence seen without a lock (`Txn::saw_everything`).
    pub fn seen_sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether a script has used a key that it had not declared, since this was last asked.
    pub fn take_reached(&mut self) -> bool {
        std::mem::take(&mut self.reached)
    }

    /// The locks of the runs.
    pub fn locks(&mut self) -> &mut Gathering {
        &mut self.locks
    }

    /// Bytes of the rows written.
    pub fn bytes(&self) -> usize {
        self.overlay.bytes()
    }

    /// The head rows of the keys that commands have changed since `since`; a key may come twice.
    pub fn changed_since(&self, since: &Savepoint) -> impl Iterator<Item = &RowKey> {
        let changes = self.changes.get(since.changes..).unwrap_or_default();
        changes.iter().filter_map(|&(state, _)| Some(self.states.get(state as usize)?.key.row()))
    }

    /// The command that runs has not changed this key after all; those before it may have.
    pub(super) fn forget_change(&mut self, index: usize) {
        let state = &mut self.states[index];
        if state.changed_by == self.command
            && let Some(at) = self.changes.iter().rposition(|&(of, _)| of as usize == index)
        {
            state.changed_by = self.changes.remove(at).1;
        }
    }

    pub(super) fn note_change(&mut self, index: usize) {
        let state = &mut self.states[index];
        if state.changed_by != self.command {
            self.changes.push((index as u32, state.changed_by));
            state.changed_by = self.command;
        }
    }
}
