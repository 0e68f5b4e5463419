//! `Txn`: the one door to data. A run of a command reads through it and gathers its writes in it; nothing becomes real before
//! `commit`, so a run can be dropped at any point and started again.
//!
//! A read looks into the run's own writes, then the hot tier, then RocksDB. How far the last step goes depends on the mode:
//!
//! | mode     | locks     | sees             | reaches | hot tier | can commit |
//! |----------|-----------|------------------|---------|----------|------------|
//! | `Worker` | its keys' | newest           | memory  | yes      | yes |
//! | `Dry`    | none      | a snapshot, or the newest | disk, or memory | reads it | no: it warms the block cache, or tells what is cold |
//! | `Heavy`  | none      | a snapshot       | disk    | no       | yes, if no stripe has moved since |
//! | `Locked` | its keys' | newest           | disk    | yes      | yes (the last resort) |
//! | `Alone`  | the gate  | newest           | disk    | yes      | yes |
//!
//! Under locks (or the gate) a row read from RocksDB is filled into the hot tier at once: no commit can race it.

use super::Keyspace;
use super::databases::{Database, DatabaseMap, Remapping};
use super::error::{Error, Outcome, Stop};
use super::events::{Events, Note};
use super::filling::ColdRow;
use super::libraries::Libraries;
use super::scratch::{Cut, KeyState, Savepoint, Scratch};
use super::stretches::Stretch;
use super::stripes::{LockPlan, StripeId};
use crate::base::random::Rng;
use crate::encoding::Family;
use crate::encoding::head::{Body, DataType, Expiry, Head, Spread};
use crate::encoding::row::{HEAD_PREFIX_LEN, Namespace, Place, Position, RowKey, Version, head_row};
use crate::hot::{Lookup, RowValue, Source};
use crate::store::{Direction, ReadError, View};
use arc_swap::Guard;
use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Longest key or element that may be stored; RocksDB itself ends at 4 GB, blocks and caches suffer long before.
pub const KEY_LEN_MAX: usize = 64 << 20;

/// What a transaction may do; see the file head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// On a worker, under locks.
    Worker,
    /// On the pool, to warm the block cache; on a worker, to see what is cold.
    Dry,
    /// On the pool, from a snapshot.
    Heavy,
    /// On the pool, under locks.
    Locked,
    /// On the pool, alone in the keyspace.
    Alone,
}

impl Mode {
    pub(super) fn fills_hot_tier(self) -> bool {
        matches!(self, Mode::Worker | Mode::Locked | Mode::Alone)
    }
}

/// What stays the same when a command runs again: its clock and its random choices.
#[derive(Debug, Clone)]
pub struct RunIdentity {
    /// The time the command sees, unix milliseconds.
    pub now_ms: u64,
    /// The same, in microseconds (TIME).
    pub now_us: u64,
    /// Seeds every random choice.
    pub seed: u64,
}

/// A key as the keyspace knows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    row: RowKey,
    stripe: StripeId,
    database: u32,
}

impl Clone for Key {
    fn clone(&self) -> Key {
        // In one piece: a `SmallVec` clones itself byte by byte.
        Key { row: RowKey::from_slice(&self.row), ..*self }
    }
}

impl Key {
    /// The key's own bytes.
    pub fn name(&self) -> &[u8] {
        self.row.get(HEAD_PREFIX_LEN..).unwrap_or_default()
    }

    /// Its head row.
    pub fn row(&self) -> &RowKey {
        &self.row
    }

    /// Its stripe.
    pub fn stripe(&self) -> StripeId {
        self.stripe
    }

    /// The logical database it is in.
    pub fn database(&self) -> u32 {
        self.database
    }

    fn slot(&self) -> u16 {
        crate::encoding::row::split_head_row(&self.row).map_or(0, |(_, position, _)| position.slot())
    }
}

/// A key's head as loaded, and still owning its bytes.
#[derive(Debug, Clone)]
pub struct Stored {
    value: RowValue,
    data_type: DataType,
    note: u8,
    expiry: Option<Expiry>,
    /// The place and count of a spread value.
    spread: Option<(Place, u64)>,
    /// Where the whole value, or the extra of a spread one, begins.
    body_start: usize,
}

impl Stored {
    fn decode(value: RowValue) -> Outcome<Stored> {
        let head = Head::decode(&value)?;
        let (body, spread) = match head.body {
            Body::Whole(bytes) => (bytes, None),
            Body::Spread(spread) => (spread.extra, Some((spread.place, spread.count))),
        };
        let body_start = value.len() - body.len();
        let (data_type, note, expiry) = (head.data_type, head.note, head.expiry);
        Ok(Stored { value, data_type, note, expiry, spread, body_start })
    }

    /// The key's type.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// What the type remembers for OBJECT ENCODING.
    pub fn note(&self) -> u8 {
        self.note
    }

    pub(super) fn expiry(&self) -> Option<Expiry> {
        self.expiry
    }

    /// When the key expires, unix milliseconds.
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.expiry.map(|expiry| expiry.at_ms)
    }

    /// The whole value, or where it is.
    pub fn body(&self) -> Body<'_> {
        let bytes = self.value.get(self.body_start..).unwrap_or_default();
        match self.spread {
            None => Body::Whole(bytes),
            Some((place, count)) => Body::Spread(Spread { place, count, extra: bytes }),
        }
    }

    /// Bytes of the head row's value.
    pub fn len(&self) -> usize {
        self.value.len()
    }

    /// Never: a head has at least its type.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }
}

/// A head about to be written. The expiry's hint is the keyspace's own affair.
#[derive(Debug, Clone, Copy)]
pub struct NewHead<'a> {
    /// The key's type.
    pub data_type: DataType,
    /// What the type remembers for OBJECT ENCODING.
    pub note: u8,
    /// When the key expires, unix milliseconds.
    pub expires_at_ms: Option<u64>,
    /// The whole value, or where it is.
    pub body: Body<'a>,
}

impl<'a> NewHead<'a> {
    /// A head without expiry or note.
    pub fn new(data_type: DataType, body: Body<'a>) -> NewHead<'a> {
        NewHead { data_type, note: 0, expires_at_ms: None, body }
    }

    /// With an expiry.
    pub fn expiring(self, expires_at_ms: Option<u64>) -> NewHead<'a> {
        NewHead { expires_at_ms, ..self }
    }

    /// With a note.
    pub fn noted(self, note: u8) -> NewHead<'a> {
        NewHead { note, ..self }
    }
}

/// One run's view of the data and its pending writes.
pub struct Txn<'k> {
    pub(super) keyspace: &'k Keyspace,
    pub(super) view: View<'k>,
    pub(super) mode: Mode,
    pub(super) scratch: &'k mut Scratch,
    pub(super) databases: Guard<Arc<DatabaseMap>>,
    /// What FLUSHDB and SWAPDB have done; few runs do such things.
    pub(super) remapping: Option<Box<Remapping>>,
    /// The libraries as FUNCTION LOAD and its kin have left them; the commit installs them.
    pub(super) changed_libraries: Option<Arc<Libraries>>,
    run: RunIdentity,
    rng: Option<Rng>,
    quiet: bool,
    /// Loads are lookups, as INFO counts them: the command only reads.
    counting: bool,
    /// The events that are told.
    pub(super) events: Events,
    /// Steps announced and taken, where a worker runs it.
    steps: Cell<u64>,
}

impl<'k> Txn<'k> {
    pub(super) fn new(
        keyspace: &'k Keyspace,
        view: View<'k>,
        mode: Mode,
        run: &RunIdentity,
        scratch: &'k mut Scratch,
    ) -> Txn<'k> {
        scratch.command += 1;
        scratch.cold = None;
        scratch.marked = None;
        let databases = keyspace.databases.load();
        let run = run.clone();
        Txn {
            keyspace,
            view,
            mode,
            scratch,
            databases,
            remapping: None,
            changed_libraries: None,
            run,
            rng: None,
            quiet: false,
            counting: false,
            events: keyspace.telling().wanted(),
            steps: Cell::new(0),
        }
    }

    /// A run within this one (a command of a script): it sees and goes on with what was written so far. `take_up` must follow.
    pub fn nest(&mut self) -> Txn<'_> {
        let seed = self.rng().next_u64();
        let run = RunIdentity { seed, ..self.run.clone() };
        let mut nested = Txn::new(self.keyspace, self.view, self.mode, &run, self.scratch);
        nested.remapping = self.remapping.take();
        nested.quiet = self.quiet;
        nested
    }

    /// What a run has changed of the databases themselves; only one alone in the keyspace has.
    pub fn into_remapping(self) -> Option<Box<Remapping>> {
        self.remapping
    }

    /// A nested run has ended.
    pub fn take_up(&mut self, remapping: Option<Box<Remapping>>) {
        self.remapping = remapping;
    }

    /// Makes sure that a script may use a key that it has not declared: on a worker its stripe is taken if it is free, in a run
    /// without locks it is noted for the commit to validate.
    pub fn reach(&mut self, stripe: StripeId) -> Outcome {
        match self.mode {
            Mode::Worker => {
                let stripes = &self.keyspace.stripes;
                self.scratch.reached = true;
                if !self.scratch.locks.take_one(stripes, stripe) {
                    return Err(Stop::Stripe(stripe));
                }
                self.scratch.sequence = self.scratch.sequence.max(stripes.sequence(stripe));
                Ok(())
            }
            Mode::Heavy => {
                self.scratch.noted.add(stripe, true);
                Ok(())
            }
            Mode::Dry | Mode::Alone => Ok(()),
            Mode::Locked => Err(Stop::Alone),
        }
    }

    /// The stripes noted by `reach`; they are taken out.
    pub fn take_noted(&mut self) -> LockPlan {
        std::mem::take(&mut self.scratch.noted)
    }

    /// The time, unix milliseconds; the same in every rerun.
    pub fn now_ms(&self) -> u64 {
        self.run.now_ms
    }

    /// The time, unix microseconds; the same in every rerun.
    pub fn now_us(&self) -> u64 {
        self.run.now_us
    }

    /// Random choices; the same in every rerun.
    pub fn rng(&mut self) -> &mut Rng {
        self.rng.get_or_insert_with(|| Rng::new(self.run.seed))
    }

    /// The keyspace, for its settings and figures.
    pub fn keyspace(&self) -> &'k Keyspace {
        self.keyspace
    }

    /// Where the run runs.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What comes waits for the disk, or takes long otherwise: it runs on the pool. Call before anything else.
    pub fn leave_worker(&self) -> Outcome {
        if self.mode == Mode::Worker { Err(Stop::Heavy) } else { Ok(()) }
    }

    /// Reads count as no use in the hot tier (CLIENT NO-TOUCH, OBJECT).
    pub fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Counts the loads from here on as lookups (a command that only reads), or not. The commit reports them.
    pub fn set_counting(&mut self, counting: bool) {
        self.counting = counting;
        self.events = self.keyspace.telling().wanted();
    }

    /// Counts the loads of `work` as lookups: a command that writes reads a key first.
    pub fn counted<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.counting, true);
        let done = work(self);
        self.counting = before;
        done
    }

    /// Counts a key that is there once more, where Redis looks twice.
    pub fn count_found(&mut self) {
        self.scratch.hits += u32::from(self.counting);
    }

    /// How many cheap steps (elements, rows) this run may do at once: some thousands where a worker runs it.
    pub fn steps_max(&self) -> u64 {
        let bounded = self.is_on_worker() || self.scratch.indexing.is_building();
        if bounded { super::WORKER_STEPS_MAX } else { u64::MAX }
    }

    /// Refuses to go on when it would have to do this much work at once, or its transaction has done too much.
    pub fn expect_work(&self, steps: u64) -> Outcome {
        if steps > self.steps_max() { Err(Stop::Heavy) } else { self.count_steps(steps) }
    }

    /// Steps are taken. Refuses to go on when they are too many, those of the transaction's other commands included.
    pub(super) fn count_steps(&self, steps: u64) -> Outcome {
        if !self.is_on_worker() {
            return Ok(());
        }
        let taken = self.steps.get().saturating_add(steps);
        self.steps.set(taken);
        if taken > super::RUN_STEPS_MAX { Err(Stop::Heavy) } else { Ok(()) }
    }

    /// A dry run is for a worker's run, which would go no further, and may be on the worker itself.
    fn is_on_worker(&self) -> bool {
        matches!(self.mode, Mode::Worker | Mode::Dry)
    }

    /// A logical database as this run sees it.
    pub fn database(&self, number: u32) -> Outcome<&Arc<Database>> {
        self.databases().get(number as usize).ok_or(Stop::Error(Error::text("ERR DB index is out of range")))
    }

    /// The database map as this run sees it.
    pub(super) fn databases(&self) -> &DatabaseMap {
        let changed = self.remapping.as_ref().and_then(|remapping| remapping.databases.as_ref());
        changed.unwrap_or(&self.databases)
    }

    /// How many logical databases there are.
    pub fn database_count(&self) -> u32 {
        self.databases().len() as u32
    }

    fn namespace(&self, database: u32) -> Namespace {
        self.databases().get(database as usize).map_or(Namespace(0), |database| database.namespace())
    }

    /// The key of these bytes in a logical database.
    pub fn key(&self, database: u32, name: &[u8]) -> Key {
        let position = Position::of_key(&self.keyspace.seed, name);
        let row = head_row(self.namespace(database), position, name);
        Key { row, stripe: StripeId::of(position), database }
    }

    /// The key of a head row met in a scan of a logical database.
    pub fn key_of_row(&self, database: u32, row: &[u8]) -> Option<Key> {
        let (_, position, _) = crate::encoding::row::split_head_row(row)?;
        Some(Key { row: RowKey::from_slice(row), stripe: StripeId::of(position), database })
    }

    // ---- reading

    /// Reads one row: own writes, hot tier, RocksDB.
    fn fetch(&mut self, family: Family, row: &[u8]) -> Outcome<Option<RowValue>> {
        if let Some(written) = self.scratch.overlay.get(family, row) {
            return Ok(written.map(RowValue::from));
        }
        self.fetch_stored(family, row)
    }

    /// What a row is read from: what the run itself has built since its snapshot is in none.
    pub(super) fn view_of(&self, row: &[u8]) -> View<'k> {
        let is_built = |place: Place| self.scratch.intents.iter().any(|intent| intent.dead.place == place);
        if self.scratch.intents.is_empty() || !Place::read(row).is_some_and(is_built) {
            return self.view;
        }
        View { snapshot: None, ..self.view }
    }

    fn fetch_stored(&mut self, family: Family, row: &[u8]) -> Outcome<Option<RowValue>> {
        if self.mode == Mode::Heavy {
            return Ok(self.view_of(row).get(family, row)?.map(RowValue::from));
        }
        let hot_name = super::hot_name(family, row);
        let hot = &self.keyspace.hot;
        let found = if self.quiet { hot.get_quiet(hot_name) } else { hot.get_at(hot_name, self.run.now_ms) };
        match found {
            Lookup::Hit(value) => return Ok(Some(value)),
            Lookup::Absent => return Ok(None),
            Lookup::Miss => {}
        }
        let value = self.view.get(family, row).inspect_err(|error| {
            if let ReadError::Cold = error {
                self.scratch.cold = Some(ColdRow { family, row: RowKey::from_slice(row) });
            }
        })?;
        if self.mode == Mode::Worker {
            self.keyspace.figures.count_memory_hit();
        }
        if self.mode.fills_hot_tier() && !self.quiet {
            hot.put_at(hot_name, value.as_deref(), Source::Fill, self.run.now_ms);
        }
        Ok(value.map(RowValue::from))
    }

    /// Loads a key's head; an expired key is no key.
    pub fn load(&mut self, key: &Key) -> Outcome<Option<Stored>> {
        let found = self.load_even_expired(key)?;
        Ok(self.looked_up(key, found))
    }

    /// What a lookup that has found this answers.
    fn looked_up(&mut self, key: &Key, found: Option<Stored>) -> Option<Stored> {
        let now_ms = self.run.now_ms;
        let live = found.filter(|stored| stored.expiry.is_none_or(|expiry| expiry.at_ms > now_ms));
        if self.counting {
            match live {
                Some(_) => self.scratch.hits += 1,
                None => {
                    self.scratch.misses += 1;
                    self.note(Events::KEY_MISS, Note::MISS, key);
                }
            }
        }
        live
    }

    /// Loads a key's head, due or not.
    pub(super) fn load_even_expired(&mut self, key: &Key) -> Outcome<Option<Stored>> {
        self.fetch(Family::Keys, &key.row)?.map(Stored::decode).transpose()
    }

    /// Loads a key that must have this type, if it exists.
    pub fn load_typed(&mut self, key: &Key, data_type: DataType) -> Outcome<Option<Stored>> {
        match self.load(key)? {
            Some(stored) if stored.data_type != data_type => Err(Error::WrongType.into()),
            stored => Ok(stored),
        }
    }

    /// Reads an element row.
    pub fn element(&mut self, family: Family, row: &[u8]) -> Outcome<Option<RowValue>> {
        self.fetch(family, row)
    }

    /// Visits rows from `lower` (included) to `upper` (excluded), own writes merged in, until the visitor breaks.
    pub fn scan(
        &mut self,
        family: Family,
        lower: &[u8],
        upper: &[u8],
        direction: Direction,
        visit: impl FnMut(&[u8], &[u8]) -> Outcome<ControlFlow<()>>,
    ) -> Outcome {
        self.scan_merged(family, Stretch::between(lower, upper), false, direction, visit)
    }

    /// Scans and merges own writes in; `kept` says whether what is read should be kept (`Txn::scan_kept`).
    pub(super) fn scan_merged(
        &mut self,
        family: Family,
        stretch: Stretch<'_>,
        kept: bool,
        direction: Direction,
        mut visit: impl FnMut(&[u8], &[u8]) -> Outcome<ControlFlow<()>>,
    ) -> Outcome {
        let Stretch { lower, upper, .. } = stretch;
        if self.scratch.overlay.is_empty() {
            return self.scan_stored(family, stretch, kept, direction, visit);
        }
        self.count_steps(self.scratch.overlay.len() as u64)?;
        let mut own = self.scratch.overlay.range(family, lower, upper);
        if direction == Direction::Up {
            own.reverse();
        }
        // `own` is consumed from its end, in the scan's direction.
        let comes_first = |own: &[u8], row: &[u8]| match direction {
            Direction::Up => own < row,
            Direction::Down => own > row,
        };
        let mut ended = false;
        self.scan_stored(family, stretch, kept, direction, |row, value| {
            while let Some(&(own_row, own_value)) = own.last() {
                if !comes_first(own_row, row) {
                    break;
                }
                own.pop();
                if let Some(own_value) = own_value
                    && visit(own_row, own_value)?.is_break()
                {
                    ended = true;
                    return Ok(ControlFlow::Break(()));
                }
            }
            let flow = match own.last() {
                Some(&(own_row, own_value)) if own_row == row => {
                    own.pop();
                    own_value.map_or(Ok(ControlFlow::Continue(())), |own_value| visit(own_row, own_value))?
                }
                _ => visit(row, value)?,
            };
            ended = flow.is_break();
            Ok::<_, Stop>(flow)
        })?;
        while let (false, Some((row, value))) = (ended, own.pop()) {
            if let Some(value) = value {
                ended = visit(row, value)?.is_break();
            }
        }
        Ok(())
    }

    /// Says that the run has looked at keys it holds no lock on (SCAN, RANDOMKEY): its reply waits for everything committed.
    pub fn saw_everything(&mut self) {
        self.scratch.sequence = self.scratch.sequence.max(self.view.db.latest_sequence());
    }

    // ---- writing

    /// The state of a key before the run; read once, before its first change.
    fn state(&mut self, key: &Key) -> Outcome<usize> {
        if let Some(index) = self.scratch.find_state(&key.row) {
            return Ok(index);
        }
        let before = self.fetch_stored(Family::Keys, &key.row)?;
        if let Some(value) = &before {
            // What is damaged fails this command, not the commit of all that run with it.
            Head::decode(value)?;
        }
        self.scratch.push_state(KeyState { key: key.clone(), before, changed_by: 0 });
        Ok(self.scratch.states.len() - 1)
    }

    /// Writes a key's head, replacing whatever the key was. Rows of a replaced collection die with it.
    pub fn save(&mut self, key: &Key, head: NewHead<'_>) -> Outcome {
        self.save_with(key, head, |_| {})
    }

    /// Like `save`, with `write` appending to the whole value (or a spread head's extra) in place.
    pub fn save_with(&mut self, key: &Key, head: NewHead<'_>, write: impl FnOnce(&mut Vec<u8>)) -> Outcome {
        check_len(key.name().len())?;
        let index = self.state(key)?;
        self.note_head(index, true);
        let expiry = match head.expires_at_ms {
            None => None,
            Some(at_ms) => Some(self.file_hint(index, at_ms)?),
        };
        let head = Head { data_type: head.data_type, note: head.note, expiry, body: head.body };
        self.scratch.note_change(index);
        let was_there = Some(self.scratch.states[index].before.is_some());
        self.scratch.overlay.put_with(Family::Keys, &key.row, was_there, |out| {
            head.encode(out);
            write(out);
        });
        Ok(())
    }

    /// The hint for a new expiry: an older hint that is not later serves as well.
    fn file_hint(&self, state: usize, at_ms: u64) -> Outcome<Expiry> {
        let old = match &self.scratch.states[state].before {
            Some(value) => Head::decode(value)?.expiry,
            None => None,
        };
        let hint_ms = match old {
            Some(old) if old.hint_ms <= at_ms && old.hint_ms > self.run.now_ms => old.hint_ms,
            _ => at_ms,
        };
        Ok(Expiry { at_ms, hint_ms })
    }

    /// Removes a key, expired or not. True if there was a live one.
    pub fn delete(&mut self, key: &Key) -> Outcome<bool> {
        let found = self.load_even_expired(key)?;
        let is_there = found.is_some();
        let live = self.looked_up(key, found).is_some();
        if !is_there {
            return Ok(false);
        }
        let index = self.state(key)?;
        let written = self.scratch.overlay.get(Family::Keys, &key.row);
        let stands = written.map_or(self.scratch.states[index].before.is_some(), |value| value.is_some());
        if stands {
            if live {
                self.scratch.note_change(index);
            } else {
                self.note_head(index, false);
            }
            self.scratch.overlay.delete(Family::Keys, &key.row);
        }
        Ok(live)
    }

    /// Removes a key whose time is up. No change to anybody: to clients it was gone before, and who watched it while it was there
    /// is stopped by its time.
    pub(super) fn remove_expired(&mut self, key: &Key) -> Outcome {
        let index = self.state(key)?;
        self.note_head(index, false);
        self.scratch.overlay.delete(Family::Keys, &key.row);
        Ok(())
    }

    /// On whose behalf the run is made.
    pub fn set_author(&mut self, client: u64) {
        self.scratch.author = client;
    }

    /// What the command has written to a key changes nothing that a client can see.
    pub fn unmark_changed(&mut self, key: &Key) {
        if let Some(index) = self.scratch.find_state(&key.row) {
            self.scratch.forget_change(index);
        }
    }

    /// Changes only a key's expiry; the key must be the one loaded.
    pub fn set_expiry(&mut self, key: &Key, stored: &Stored, expires_at_ms: Option<u64>) -> Outcome {
        let head =
            NewHead { data_type: stored.data_type, note: stored.note, expires_at_ms, body: stored.body() };
        self.save(key, head)
    }

    /// An element row under a key is about to change.
    fn touch_row(&mut self, key: &Key, row: &[u8]) -> Outcome {
        check_len(row.len())?;
        let index = self.state(key)?;
        self.scratch.note_change(index);
        Ok(())
    }

    /// Sets an element row under a key.
    pub fn put_element(&mut self, key: &Key, family: Family, row: &[u8], value: &[u8]) -> Outcome {
        self.touch_row(key, row)?;
        self.scratch.overlay.put(family, row, value);
        Ok(())
    }

    /// The same for a row that, as the caller knows, is not there: it spares the rank indexes the question.
    pub fn insert_element(&mut self, key: &Key, family: Family, row: &[u8], value: &[u8]) -> Outcome {
        self.touch_row(key, row)?;
        self.scratch.overlay.insert(family, row, value);
        Ok(())
    }

    /// The same for a row that is there: the caller has read it.
    pub fn replace_element(&mut self, key: &Key, family: Family, row: &[u8], value: &[u8]) -> Outcome {
        self.touch_row(key, row)?;
        self.scratch.overlay.replace(family, row, value);
        Ok(())
    }

    /// Removes an element row under a key; it must be there.
    pub fn delete_element(&mut self, key: &Key, family: Family, row: &[u8]) -> Outcome {
        self.touch_row(key, row)?;
        self.scratch.overlay.delete(family, row);
        Ok(())
    }

    /// Removes all rows of a family from `lower` (included) to `upper` (excluded), with one deletion. The key's head must not reach them
    /// any more: this run and later ones still come upon them in memory, and must not look.
    pub fn cut_elements(&mut self, key: &Key, family: Family, lower: &[u8], upper: &[u8]) -> Outcome {
        let index = self.state(key)?;
        self.scratch.note_change(index);
        let (lower, upper) = (RowKey::from_slice(lower), RowKey::from_slice(upper));
        let at = self.scratch.overlay.len();
        self.scratch.cut.push(Cut { family, lower, upper, at });
        Ok(())
    }

    /// A place for a new spread collection under a key, with a version never used before.
    pub fn new_place(&mut self, key: &Key) -> Place {
        let namespace = self.namespace(key.database);
        let place = Place { namespace, slot: key.slot(), version: Version(self.keyspace.next_version()) };
        self.scratch.made.push(place);
        place
    }

    /// Where the run's writes stand, to go back to if a command within it fails.
    pub fn savepoint(&self) -> Savepoint {
        self.scratch.savepoint()
    }

    /// A command within the run has failed: takes back all writes since `to`. What it has looked up counts.
    pub fn rewind_failed(&mut self, to: &Savepoint) {
        self.scratch.rewind_failed(to);
    }

    /// Within EXEC: the next command begins. What each has changed is counted apart.
    pub fn next_command(&mut self) {
        self.scratch.command += 1;
    }

    /// Rows written so far.
    pub fn writes(&self) -> usize {
        self.scratch.overlay.len()
    }

    /// Room for building a value; give it back with `return_buffer`.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.scratch.buffer);
        buffer.clear();
        buffer
    }

    /// Gives the room back.
    pub fn return_buffer(&mut self, buffer: Vec<u8>) {
        self.scratch.buffer = buffer;
    }
}

/// Refuses keys and elements that a row key cannot hold.
pub(super) fn check_len(len: usize) -> Outcome {
    if len > KEY_LEN_MAX { Err(Error::TooLong(KEY_LEN_MAX).into()) } else { Ok(()) }
}
