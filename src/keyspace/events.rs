//! Keyspace events: what commands have done to keys, told once it is real.
//!
//! A command notes its events in its transaction (`Txn::note`), in the order in which Redis tells them; they lie beside its writes, are
//! taken back with them, and the commit hands them to the listener, so a command that runs again tells once and one that fails
//! tells nothing. Three events come by themselves, wherever a head is written: `new`, and `expired` for a key whose time was up before
//! the expirer came to it; `keymiss` comes with every lookup that INFO counts as a miss. While nobody wants events a note costs one
//! comparison, and a transaction one relaxed load.
//!
//! The listener also learns of every changed key while it says that it wants to (client tracking).
//!
//! Locks: the listener is called with the commit's stripes held; it may take locks of its own, and never waits.

use super::Keyspace;
use super::error::Outcome;
use super::scratch::Scratch;
use super::txn::{Key, Txn};
use crate::encoding::Family;
use crate::encoding::head::{DataType, Head};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Classes of events, and the two ways of telling them, as bits; each has a letter in `notify-keyspace-events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events(u32);

impl Events {
    /// `K`: on the key's channel.
    pub const BY_KEY: Events = Events(1);
    /// `E`: on the event's channel.
    pub const BY_EVENT: Events = Events(1 << 1);
    /// `g`: commands for keys of any type.
    pub const GENERIC: Events = Events(1 << 2);
    /// `$`
    pub const STRING: Events = Events(1 << 3);
    /// `l`
    pub const LIST: Events = Events(1 << 4);
    /// `s`
    pub const SET: Events = Events(1 << 5);
    /// `h`
    pub const HASH: Events = Events(1 << 6);
    /// `z`
    pub const ZSET: Events = Events(1 << 7);
    /// `x`: a key's time was up.
    pub const EXPIRED: Events = Events(1 << 8);
    /// `e`: never told here, for nothing is evicted.
    pub const EVICTED: Events = Events(1 << 9);
    /// `t`
    pub const STREAM: Events = Events(1 << 10);
    /// `m`: a read found no key.
    pub const KEY_MISS: Events = Events(1 << 11);
    /// `d`: of modules.
    pub const MODULE: Events = Events(1 << 12);
    /// `n`: a key has come.
    pub const NEW: Events = Events(1 << 13);
    /// `o`: a key's value was replaced.
    pub const OVERWRITTEN: Events = Events(1 << 14);
    /// `c`: by one of another type.
    pub const TYPE_CHANGED: Events = Events(1 << 15);

    /// The bits that the letters of a checked `notify-keyspace-events` stand for.
    pub fn of_letters(letters: &str) -> Events {
        letters
            .chars()
            .fold(Events::default(), |events, letter| Events(events.0 | Events::of_letter(letter).0))
    }

    fn of_letter(letter: char) -> Events {
        match letter {
            'K' => Events::BY_KEY,
            'E' => Events::BY_EVENT,
            'g' => Events::GENERIC,
            '$' => Events::STRING,
            'l' => Events::LIST,
            's' => Events::SET,
            'h' => Events::HASH,
            'z' => Events::ZSET,
            'x' => Events::EXPIRED,
            'e' => Events::EVICTED,
            't' => Events::STREAM,
            'm' => Events::KEY_MISS,
            'd' => Events::MODULE,
            'n' => Events::NEW,
            'o' => Events::OVERWRITTEN,
            'c' => Events::TYPE_CHANGED,
            'A' => Events::of_letters("g$lshzxetd"),
            _ => Events::default(),
        }
    }

    /// Whether the two have a bit in common.
    pub fn has(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }
}

/// One event of a run.
#[derive(Debug, Clone)]
pub struct Note {
    /// What happened.
    pub event: &'static str,
    /// The logical database of the key.
    pub database: u32,
    /// The key's bytes.
    pub key: SmallVec<[u8; 32]>,
}

impl Note {
    /// The event of a lookup that found no key.
    pub const MISS: &'static str = "keymiss";

    pub(super) fn is_miss(&self) -> bool {
        self.event == Note::MISS
    }
}

/// What a commit was.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// Up to where the log must be flushed before anything of it may be shown.
    pub sequence: u64,
    /// The opening of the store that the number belongs to.
    pub epoch: u64,
    /// The client on whose behalf it was made; of several the last.
    pub author: u64,
}

/// Who is told of commits. Called with the commit's stripes held.
pub trait Listener: Send + Sync {
    /// These events have happened, in this order.
    fn events(&self, notes: &[Note], wanted: Events, told: Told);
    /// These keys have changed.
    fn changed(&self, keys: &mut dyn Iterator<Item = &[u8]>, told: Told);
    /// Whole databases have changed.
    fn all_changed(&self, told: Told);
}

/// Who is told what.
#[derive(Default)]
pub struct Telling {
    wanted: AtomicU32,
    wants_changes: Arc<AtomicBool>,
    listener: OnceLock<Box<dyn Listener>>,
}

impl Telling {
    /// Sets who is told; once, at the start.
    pub fn set_listener(&self, listener: Box<dyn Listener>) {
        // Nobody sets it twice.
        let _ = self.listener.set(listener);
    }

    /// Which events are told from now on.
    pub fn set_wanted(&self, events: Events) {
        let is_heard = events.has(Events::BY_KEY) || events.has(Events::BY_EVENT);
        self.wanted.store(if is_heard { events.0 } else { 0 }, Ordering::Relaxed);
    }

    /// Which events are told.
    pub fn wanted(&self) -> Events {
        Events(self.wanted.load(Ordering::Relaxed))
    }

    /// Up while changed keys are to be told; the listener raises and lowers it.
    pub fn wants_changes(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.wants_changes)
    }

    pub(super) fn listener_of_changes(&self) -> Option<&dyn Listener> {
        if self.wants_changes.load(Ordering::SeqCst) { self.listener.get().map(Box::as_ref) } else { None }
    }
}

impl Keyspace {
    /// Who is told of commits.
    pub fn telling(&self) -> &Telling {
        &self.telling
    }

    /// Tells the events of runs that have written nothing (`keymiss`).
    pub fn tell_events(&self, scratch: &mut Scratch) {
        self.tell(&mut scratch.notes, scratch.sequence, scratch.author);
    }

    /// A run that wrote nothing has failed, or waits: what it has looked up counts, and what was not there is told.
    pub fn tell_failed(&self, scratch: &mut Scratch) {
        scratch.notes.retain(Note::is_miss);
        self.tell_events(scratch);
        self.report_lookups(scratch);
    }

    /// Adds what runs have looked up since the last time to the figures.
    pub fn report_lookups(&self, scratch: &mut Scratch) {
        let (hits, misses) = scratch.take_lookups();
        if hits + misses > 0 {
            self.figures.count_lookups(hits, misses);
        }
    }

    /// Tells events; what they tell of is committed up to `sequence`.
    pub(super) fn tell(&self, notes: &mut Vec<Note>, sequence: u64, author: u64) {
        if notes.is_empty() {
            return;
        }
        if let Some(listener) = self.telling.listener.get() {
            let told = Told { sequence, epoch: self.store.epoch(), author };
            listener.events(notes, self.telling.wanted(), told);
        }
        notes.clear();
    }
}

impl Txn<'_> {
    /// Notes an event of a key; it is told when the run commits.
    pub fn note(&mut self, class: Events, event: &'static str, key: &Key) {
        if self.events.has(class) {
            self.push_note(event, key);
        }
    }

    /// Events of a class are not noted until the next command begins.
    pub fn mute(&mut self, class: Events) {
        self.events = Events(self.events.0 & !class.0);
    }

    /// Notes an event, and `del` behind it if the run has left no key: the last element went.
    pub fn note_removal(&mut self, class: Events, event: &'static str, key: &Key) {
        self.note(class, event, key);
        if self.events.has(Events::GENERIC)
            && self.scratch.overlay.get(Family::Keys, key.row()).is_some_and(|head| head.is_none())
        {
            self.push_note("del", key);
        }
    }

    /// A key is about to be given another value as if it had been removed before: a new key, too.
    pub fn note_replaced(&mut self, key: &Key) -> Outcome {
        if self.events.has(Events::NEW) && self.load(key)?.is_some() {
            self.push_note("new", key);
        }
        Ok(())
    }

    /// The type of the value that a key is about to be given another one for; looked up only if that will be told.
    pub fn overwritten(&mut self, key: &Key) -> Outcome<Option<DataType>> {
        let is_told = self.events.has(Events::OVERWRITTEN) || self.events.has(Events::TYPE_CHANGED);
        if !is_told {
            return Ok(None);
        }
        Ok(self.load(key)?.map(|stored| stored.data_type()))
    }

    /// Notes that the value of a key, of this type, was replaced by one of that type.
    pub fn note_overwritten(&mut self, key: &Key, before: Option<DataType>, now: DataType) {
        let Some(before) = before else { return };
        self.note(Events::OVERWRITTEN, "overwritten", key);
        if before != now {
            self.note(Events::TYPE_CHANGED, "type_changed", key);
        }
    }

    fn push_note(&mut self, event: &'static str, key: &Key) {
        let note = Note { event, database: key.database(), key: SmallVec::from_slice(key.name()) };
        self.scratch.notes.push(note);
    }

    /// A head is about to be written (or removed) whose key's state is known: what was there is gone by its time, or is new.
    pub(super) fn note_head(&mut self, state: usize, is_saved: bool) {
        let wanted = self.events;
        if !(wanted.has(Events::EXPIRED) || is_saved && wanted.has(Events::NEW)) {
            return;
        }
        let now_ms = self.now_ms();
        let state = &self.scratch.states[state];
        let written = self.scratch.overlay.get(Family::Keys, state.key.row());
        let current = written.unwrap_or(state.before.as_deref());
        let expiry = current.and_then(|head| Head::decode(head).ok()).and_then(|head| head.expiry);
        let is_due = expiry.is_some_and(|expiry| expiry.at_ms <= now_ms);
        let is_absent = current.is_none();
        let key = state.key.clone();
        if is_due {
            self.note(Events::EXPIRED, "expired", &key);
        }
        if is_saved && (is_due || is_absent) {
            self.note(Events::NEW, "new", &key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stand_for_classes_and_a_for_most_of_them() {
        let all = Events::of_letters("KA");
        for (letter, is_in) in
            [('K', true), ('E', false), ('g', true), ('x', true), ('m', false), ('n', false)]
        {
            assert_eq!(all.has(Events::of_letter(letter)), is_in, "{letter}");
        }
        assert_eq!(Events::of_letters("A"), Events::of_letters("g$lshzxetd"));
        assert_eq!(Events::of_letters(""), Events::default());
    }

    #[test]
    fn classes_without_a_way_to_tell_them_are_not_wanted() {
        let telling = Telling::default();
        telling.set_wanted(Events::of_letters("A"));
        assert_eq!(telling.wanted(), Events::default());
        telling.set_wanted(Events::of_letters("Eg"));
        assert!(telling.wanted().has(Events::GENERIC) && !telling.wanted().has(Events::LIST));
    }
}
