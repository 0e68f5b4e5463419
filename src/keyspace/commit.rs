//! Commit: the one place that knows what changed. A run's writes become one RocksDB batch; then the hot tier, the counters, the
//! watchers and the waiters learn of it, all before the run's locks are released.
//!
//! What a handler need not think of is added here: the writer's counter row where keys came or went, the `ttl` row of a new
//! expiry, the `gc` rows of collections that no head points to any more, and the exile rows of collections that moved.

use super::databases::{Database, Writer};
use super::error::{Outcome, Stop};
use super::events::Told;
use super::scratch::KeyState;
use super::txn::{Mode, Txn};
use super::watch::Remapped;
use super::{Keyspace, hot_name};
use crate::encoding::Family;
use crate::encoding::gc::{DeadCollection, dead_namespace_row, exile_row};
use crate::encoding::head::{Body, DataType, Head};
use crate::encoding::row::{Namespace, Place, split_head_row};
use crate::encoding::system::{Count, counter_row, counters_of, database_row};
use crate::encoding::ttl::hint_row;
use crate::hot::Source;
use crate::store::{Batch, Tier, WriteError};
use smallvec::SmallVec;
use std::sync::Arc;

/// What is in memory follows a commit of so many rows; after a larger one it only forgets what was there. Some times as many as a group
/// of usual commands has, for what they wrote is wanted again.
pub(super) const ROWS_FOLLOWED_MAX: usize = 4096;

/// What a commit did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// At or above the sequence of everything the run saw or wrote: its reply waits until the log is flushed up to here.
    pub sequence: u64,
    /// Keys changed; one that several commands changed counts for each.
    pub changed: usize,
}

/// A change of what the writer has counted in one database.
struct CountChange {
    database: Arc<Database>,
    writer: Writer,
    keys: i64,
    expiring: i64,
}

/// What the heads of a commit imply beyond themselves.
#[derive(Default)]
struct Consequences {
    counts: SmallVec<[CountChange; 2]>,
    dead: SmallVec<[DeadCollection; 2]>,
    /// The earliest expiry hint filed.
    hint_min_ms: Option<u64>,
    /// Changed keys: the state, and the key's type now.
    changed: SmallVec<[(usize, Option<DataType>); 16]>,
    /// Collections made and let go of within the run: their rows are not written at all.
    stillborn: SmallVec<[Place; 2]>,
}

impl Consequences {
    fn is_stillborn(&self, family: Family, row: &[u8]) -> bool {
        !self.stillborn.is_empty()
            && family.holds_elements()
            && Place::read(row).is_some_and(|place| self.stillborn.contains(&place))
    }
}

/// Between the batch and the hot tier a panic would leave memory behind the disk: better to die and start again.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

impl Txn<'_> {
    /// Makes the run's writes real. Called with the run's locks held (or the gate, or validated stripes).
    pub fn commit(mut self) -> Outcome<Committed> {
        if self.mode == Mode::Dry {
            return Err(Stop::Unavailable("a dry run tried to commit".to_owned()));
        }
        let remaps = self.remapping.as_ref().is_some_and(|remapping| !remapping.numbers.is_empty());
        if self.scratch.overlay.is_empty() && !remaps && self.changed_libraries.is_none() {
            self.keyspace.report_lookups(self.scratch);
            // Nobody who only reads should ask who tracks keys.
            if self.caches_forget() {
                self.tell_changes(self.scratch.sequence, false);
            } else {
                self.tell_notes(self.scratch.sequence);
            }
            return Ok(Committed { sequence: self.scratch.sequence, changed: 0 });
        }
        let mut batch = Batch::default();
        let db = self.view.db;
        let consequences = self.consequences(&mut batch)?;
        // A worker's commits follow one another; those of pool threads must, as long as they count.
        let counts = !consequences.counts.is_empty() && self.scratch.writer == Writer::POOL;
        let _counting = counts.then(|| self.keyspace.pool_counts.lock());
        let mut cuts = self.scratch.cut.iter().peekable();
        for (number, (family, row, value), was_there) in self.scratch.overlay.numbered() {
            while let Some(cut) = cuts.next_if(|cut| cut.at <= number) {
                batch.delete_range(db, cut.family, &cut.lower, &cut.upper);
            }
            match value {
                _ if consequences.is_stillborn(family, row) => {}
                Some(value) if was_there == Some(true) => batch.replace(db, family, row, value),
                Some(value) => batch.put(db, family, row, value),
                None => batch.delete(db, family, row),
            }
        }
        for cut in cuts {
            batch.delete_range(db, cut.family, &cut.lower, &cut.upper);
        }
        self.write_remapping(&mut batch);
        if let Some(libraries) = &self.changed_libraries {
            libraries.write(&self.keyspace.libraries(), &mut batch, db);
        }
        for change in &consequences.counts {
            let row = counter_row(change.database.namespace(), change.writer.0);
            batch.put(db, Family::System, &row, &change.after().encode());
        }
        let sequence = match self.keyspace.store.write(db, batch, self.mode != Mode::Worker) {
            Ok(sequence) => sequence,
            Err(WriteError::Stalled) => return Err(Stop::Stall),
            Err(WriteError::Failed(reason)) => {
                self.keyspace.signal_failure();
                return Err(Stop::Unavailable(reason));
            }
        };
        self.keyspace.report_lookups(self.scratch);
        let guard = AbortOnPanic;
        self.apply(&consequences, sequence);
        drop(guard);
        self.scratch.intents.clear();
        let changed = self.scratch.changes.len();
        Ok(Committed { sequence: self.scratch.sequence.max(sequence), changed })
    }

    /// Goes through the keys touched: what was and what is.
    fn consequences(&mut self, batch: &mut Batch) -> Outcome<Consequences> {
        let mut all = Consequences::default();
        let (mut olds, mut news): (SmallVec<[_; 2]>, SmallVec<[_; 2]>) = Default::default();
        let db = self.view.db;
        for (index, state) in self.scratch.states.iter().enumerate() {
            let written = self.scratch.overlay.get(Family::Keys, state.key.row());
            let before = state.before.as_deref().map(Head::decode).transpose()?;
            let after = match written {
                Some(value) => value.map(Head::decode).transpose()?,
                None => before,
            };
            if state.changed_by != 0 {
                all.changed.push((index, after.map(|head| head.data_type)));
            }
            if written.is_none() {
                continue;
            }
            let Some((namespace, _, _)) = split_head_row(state.key.row()) else { continue };
            self.count(&mut all, namespace, before, after);
            if let Some(before) = before
                && let Body::Spread(spread) = before.body
            {
                let dead =
                    DeadCollection { data_type: before.data_type, place: spread.place, count: spread.count };
                olds.push((dead, namespace));
            }
            if let Some(after) = after {
                if let Some(place) = after.place() {
                    news.push((place, namespace));
                }
                if let Some(expiry) = after.expiry
                    && before.and_then(|head| head.expiry).map(|old| old.hint_ms) != Some(expiry.hint_ms)
                {
                    batch.put(db, Family::Ttl, &hint_row(expiry.hint_ms, state.key.row()), b"");
                    all.hint_min_ms = Some(all.hint_min_ms.unwrap_or(u64::MAX).min(expiry.hint_ms));
                }
            }
        }
        for (dead, _) in &olds {
            if !news.iter().any(|(place, _)| *place == dead.place) {
                batch.put(db, Family::Gc, &dead.row(), &dead.encode());
                all.dead.push(*dead);
            }
        }
        mark_exiles(batch, db, &olds, &news);
        let lives = |place: &Place| news.iter().any(|(other, _)| other == place);
        for intent in self.scratch.intents.iter().filter(|intent| lives(&intent.dead.place)) {
            batch.delete(db, Family::Gc, &intent.dead.row());
        }
        all.stillborn.extend(self.scratch.made.iter().filter(|place| !lives(place)).copied());
        Ok(all)
    }

    fn count(
        &self,
        all: &mut Consequences,
        namespace: Namespace,
        before: Option<Head<'_>>,
        after: Option<Head<'_>>,
    ) {
        let expires = |head: Option<Head<'_>>| head.is_some_and(|head| head.expiry.is_some());
        let keys = i64::from(after.is_some()) - i64::from(before.is_some());
        let expiring = i64::from(expires(after)) - i64::from(expires(before));
        if keys == 0 && expiring == 0 {
            return;
        }
        if let Some(change) = all.counts.iter_mut().find(|change| change.database.namespace() == namespace) {
            change.keys += keys;
            change.expiring += expiring;
            return;
        }
        // After a FLUSHDB in the same run the key's old namespace has no counters any more.
        let writer = self.scratch.writer;
        if let Some(database) = self.databases().iter().find(|database| database.namespace() == namespace) {
            all.counts.push(CountChange { database: Arc::clone(database), writer, keys, expiring });
        }
    }

    /// The rows of FLUSHDB and SWAPDB.
    fn write_remapping(&self, batch: &mut Batch) {
        let Some(remapping) = &self.remapping else { return };
        let db = self.view.db;
        for &number in &remapping.numbers {
            if let Some(database) = self.databases().get(number as usize) {
                batch.put(db, Family::System, &database_row(number), &database.namespace().0.to_be_bytes());
            }
        }
        for old in &remapping.flushed {
            batch.put(db, Family::Gc, &dead_namespace_row(old.namespace()), b"");
            let (from, to) = counters_of(old.namespace());
            batch.delete_range(db, Family::System, &from, &to);
        }
        if !remapping.flushed.is_empty() {
            let next = self.keyspace.namespaces_used();
            batch.put(db, Family::System, crate::encoding::system::NAMESPACE_ROW, &next.to_be_bytes());
        }
    }

    /// Tells memory what the disk now says.
    fn apply(&mut self, consequences: &Consequences, sequence: u64) {
        let keyspace = self.keyspace;
        // First: it asks the hot tier what was there before.
        self.count_ranks(consequences.dead.iter().map(|dead| (dead.data_type, dead.place)));
        self.patch_stretches(consequences.dead.iter().map(|dead| (dead.data_type, dead.place)));
        self.patch_marks(consequences.dead.iter().map(|dead| (dead.data_type, dead.place)));
        for state in &mut self.scratch.states {
            // Nobody else holds an old value now, so that the hot tier can write over it.
            state.before = None;
        }
        let overlay = &self.scratch.overlay;
        let (keep, now_ms) = (overlay.len() <= ROWS_FOLLOWED_MAX, self.now_ms());
        for (family, row, value) in overlay.iter().filter(|(family, ..)| family.is_read_by_row()) {
            let hot_name = hot_name(family, row);
            match value {
                _ if consequences.is_stillborn(family, row) => {}
                Some(_) if keep && family.is_kept_when_written() => {
                    keyspace.hot.put_at(hot_name, value, Source::Write, now_ms);
                }
                None if keep && family == Family::Keys => {
                    keyspace.hot.put_at(hot_name, None, Source::Write, now_ms);
                }
                _ => keyspace.hot.remove(hot_name),
            }
        }
        for change in &consequences.counts {
            change.database.set_count(change.writer, change.after());
        }
        // Only now that the row is there: an expirer that passed its place before must come again.
        if let Some(hint_ms) = consequences.hint_min_ms {
            keyspace.expiry.note_hint(hint_ms);
        }
        for dead in &consequences.dead {
            keyspace.store.dead().insert(dead.place.version, sequence);
        }
        let flushes = self.remapping.as_ref().is_some_and(|remapping| !remapping.flushed.is_empty());
        if !consequences.dead.is_empty() || flushes {
            keyspace.gc.notice();
        }
        let states = &self.scratch.states;
        // Rows of heads that changed without a client's doing (refiled hints) count for replies, too.
        for state in states {
            keyspace.stripes.set_sequence(state.key.stripe(), sequence);
        }
        for (index, _) in &consequences.changed {
            keyspace.watches.touch(states[*index].key.row());
        }
        if !keyspace.waiters.is_empty() {
            let author = self.scratch.author;
            for (index, data_type) in &consequences.changed {
                let (row, stripe) = (states[*index].key.row(), states[*index].key.stripe());
                if let Some(data_type) = data_type {
                    keyspace
                        .waiters
                        .claim(row, Some(*data_type), author, || keyspace.stripes.begin_turn(stripe));
                }
                if *data_type != Some(DataType::Stream) {
                    keyspace.waiters.tell_gone(row, || keyspace.stripes.begin_turn(stripe));
                }
            }
            // What has expired is removed by nobody's command.
            let expired =
                states.iter().filter(|state| state.changed_by == 0 && overlay.removes(state.key.row()));
            expired.for_each(|state| {
                let stripe = state.key.stripe();
                keyspace.waiters.tell_gone(state.key.row(), || keyspace.stripes.begin_turn(stripe));
            });
        }
        let is_remapped = self.apply_remapping(sequence);
        if let Some(libraries) = self.changed_libraries.take() {
            keyspace.install_libraries(libraries, sequence);
        }
        keyspace.figures.count_changes(self.scratch.changes.len() as u64);
        self.tell_changes(sequence, is_remapped);
    }

    /// Tells events and changed keys to whoever listens. After the stripes' sequences are set: who reads without locks and finds
    /// them unmoved has said before what it reads.
    fn tell_changes(&mut self, sequence: u64, is_remapped: bool) {
        self.tell_notes(sequence);
        let keyspace = self.keyspace;
        let Some(listener) = keyspace.telling.listener_of_changes() else { return };
        let scratch = &self.scratch;
        let told = Told { sequence, epoch: keyspace.store.epoch(), author: scratch.author };
        // What has expired is removed by nobody's command.
        let is_told = |state: &&KeyState| state.changed_by != 0 || scratch.overlay.removes(state.key.row());
        let changed = scratch.states.iter().filter(is_told);
        let mut keys = changed.map(|state| state.key.name());
        listener.changed(&mut keys, told);
        if is_remapped || self.caches_forget() {
            listener.all_changed(told);
        }
    }

    fn caches_forget(&self) -> bool {
        self.remapping.as_ref().is_some_and(|remapping| remapping.caches_forget)
    }

    fn tell_notes(&mut self, sequence: u64) {
        self.keyspace.tell(&mut self.scratch.notes, sequence, self.scratch.author);
    }

    /// Whether there was something to apply.
    fn apply_remapping(&mut self, sequence: u64) -> bool {
        let Some(remapping) = self.remapping.as_mut().filter(|remapping| !remapping.numbers.is_empty())
        else {
            return false;
        };
        let keyspace: &Keyspace = self.keyspace;
        let old = keyspace.databases();
        if let Some(databases) = remapping.databases.take() {
            keyspace.install_databases(databases);
        }
        // Only now: a watch that comes too late for this finds the new namespaces (`Keyspace::watch`).
        let new = keyspace.databases();
        let mut numbers = std::mem::take(&mut remapping.numbers);
        numbers.sort_unstable();
        numbers.dedup();
        let prefix = |database: &Database| database.namespace().0.to_be_bytes();
        let moves: SmallVec<[Remapped; 2]> = numbers
            .iter()
            .filter_map(|&number| {
                let (from, to) = (old.get(number as usize)?, new.get(number as usize)?);
                Some(Remapped { from: prefix(from), to: prefix(to) })
            })
            .collect();
        let view = self.view.db.newest(Tier::Disk);
        keyspace.watches.remap(&moves, |row| match view.get(Family::Keys, row) {
            Ok(Some(value)) => Head::decode(&value)
                .is_ok_and(|head| head.expiry.is_none_or(|expiry| expiry.at_ms > self.now_ms())),
            Ok(None) => false,
            // It cannot be told: the client tries again.
            Err(_) => true,
        });
        keyspace.stripes.set_all_sequences(sequence);
        keyspace.waiters.recheck_all();
        true
    }
}

impl CountChange {
    fn after(&self) -> Count {
        let before = self.database.count(self.writer);
        Count {
            keys: before.keys.saturating_add(self.keys),
            expiring: before.expiring.saturating_add(self.expiring),
        }
    }
}

/// Collections that live in another namespace than their rows are listed, so that FLUSHDB of the rows' namespace spares them.
fn mark_exiles(
    batch: &mut Batch,
    db: &crate::store::Db,
    olds: &[(DeadCollection, Namespace)],
    news: &[(Place, Namespace)],
) {
    for (place, lives_in) in news {
        let was_in = olds.iter().find(|(dead, _)| dead.place == *place).map(|(_, namespace)| *namespace);
        if was_in == Some(*lives_in) {
            continue;
        }
        if place.namespace != *lives_in {
            batch.put(db, Family::Gc, &exile_row(place), &lives_in.0.to_be_bytes());
        } else if was_in.is_some() {
            batch.delete(db, Family::Gc, &exile_row(place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::NewHead;
    use crate::keyspace::testbed::Testbed;

    /// The numbers of a stream's rows on disk.
    fn numbers_on_disk(bed: &Testbed, place: Place) -> Vec<i64> {
        let is_there = |number: &i64| {
            let row = place.index_row(*number);
            let found = bed.keyspace.store().with_db(|db| db.newest(Tier::Disk).get(Family::Stream, &row));
            found.unwrap().unwrap().is_some()
        };
        (0..10).filter(is_there).collect()
    }

    #[test]
    fn a_cut_takes_what_was_written_before_it_and_one_that_is_taken_back_takes_nothing() {
        let bed = Testbed::open();
        let (key, place) = bed.run(|txn| {
            let key = txn.key(0, b"k");
            let place = txn.new_place(&key);
            txn.put_element(&key, Family::Stream, &place.index_row(1), b"v")?;
            let body = Body::Spread(crate::encoding::head::Spread { place, count: 1, extra: b"" });
            txn.save(&key, NewHead::new(DataType::Stream, body))?;
            Ok((key, place))
        });
        let (lower, upper) = (place.index_row(0), place.index_row(9));
        bed.run(|txn| {
            let before = txn.savepoint();
            txn.cut_elements(&key, Family::Stream, &lower, &upper)?;
            txn.rewind_failed(&before);
            txn.put_element(&key, Family::Stream, &place.index_row(2), b"v")
        });
        assert_eq!(numbers_on_disk(&bed, place), [1, 2]);
        bed.run(|txn| {
            txn.put_element(&key, Family::Stream, &place.index_row(3), b"v")?;
            txn.cut_elements(&key, Family::Stream, &lower, &upper)?;
            txn.put_element(&key, Family::Stream, &place.index_row(4), b"v")
        });
        assert_eq!(numbers_on_disk(&bed, place), [4]);
    }

    /// Whether the last of so many keys, written by one commit, is in the hot tier.
    fn stays_hot(keys: usize) -> bool {
        let bed = Testbed::open();
        let last = bed.run(|txn| {
            for number in 1..=keys {
                let key = txn.key(0, format!("key{number}").as_bytes());
                txn.save(&key, NewHead::new(DataType::String, Body::Whole(b"value")))?;
            }
            Ok(txn.key(0, format!("key{keys}").as_bytes()))
        });
        bed.keyspace.is_hot(Family::Keys, last.row())
    }

    #[test]
    fn what_a_huge_commit_writes_over_or_removes_is_not_seen_any_more() {
        let bed = Testbed::open();
        let save = |txn: &mut Txn<'_>, name: &[u8], value: &[u8]| {
            let key = txn.key(0, name);
            txn.save(&key, NewHead::new(DataType::String, Body::Whole(value)))
        };
        bed.run(|txn| save(txn, b"changed", b"old").and_then(|()| save(txn, b"removed", b"old")));
        bed.run(|txn| {
            for number in 0..=ROWS_FOLLOWED_MAX {
                save(txn, format!("key{number}").as_bytes(), b"value")?;
            }
            save(txn, b"changed", b"new")?;
            let key = txn.key(0, b"removed");
            txn.delete(&key)
        });
        let seen = bed.run(|txn| {
            let [changed, removed] = [&b"changed"[..], b"removed"].map(|name| txn.key(0, name));
            let is_new = |stored: crate::keyspace::Stored| matches!(stored.body(), Body::Whole(b"new"));
            Ok((txn.load(&changed)?.is_some_and(is_new), txn.load(&removed)?.is_some()))
        });
        assert_eq!(seen, (true, false));
    }

    #[test]
    fn pool_threads_that_count_keys_count_one_after_the_other() {
        let bed = Testbed::open();
        let faults = bed.keyspace.store().faults();
        faults.stop_writes(true);
        std::thread::scope(|scope| {
            for name in [b"a", b"b"] {
                let bed = &bed;
                scope.spawn(move || {
                    bed.run(|txn| {
                        let key = txn.key(0, name);
                        txn.save(&key, NewHead::new(DataType::String, Body::Whole(b"value")))
                    });
                });
            }
            // The one gets as far as its write, the other does not count before that.
            std::thread::sleep(std::time::Duration::from_millis(50));
            faults.stop_writes(false);
        });
        let database = Arc::clone(&bed.keyspace.databases()[0]);
        assert_eq!(database.keys(), 2);
        let row = counter_row(database.namespace(), Writer::POOL.0);
        let written = bed.keyspace.store().with_db(|db| db.newest(Tier::Disk).get(Family::System, &row));
        assert_eq!(Count::decode(&written.unwrap().unwrap().unwrap()).unwrap().keys, 2);
    }

    #[test]
    fn what_a_group_of_large_commands_wrote_is_hot_but_not_what_a_huge_one_wrote() {
        assert!(stays_hot(128 * 10), "a group of MSETs");
        assert!(stays_hot(ROWS_FOLLOWED_MAX));
        assert!(!stays_hot(ROWS_FOLLOWED_MAX + 1));
    }
}
