//! The expirer: removes keys whose time is up, found through the hints of the `ttl` family.
//!
//! A round reads hints from the low-water mark up to now. For each it looks at the head under the key's lock: due, then the key
//! is deleted; not yet due (its expiry was extended under the old hint), then the hint is filed again at the true time; anything
//! else, the hint is stale and only removed. The mark lets the next round begin behind the rows this one removed; hints that
//! are filed while a round runs are noted beside the mark, so that the next round begins early enough for them, too.
//!
//! Runs on the pool. Reads hide due keys at once, so the expirer is about space, DBSIZE and events, not about truth.

use super::stripes::StripeId;
use super::txn::{Mode, NewHead, RunIdentity};
use super::{Holder, Keyspace, LockPlan, Outcome, Scratch, Stop};
use crate::encoding::Family;
use crate::encoding::row::{RowKey, split_head_row};
use crate::encoding::ttl::{hint_bound, split_hint_row};
use crate::store::{Direction, Tier};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

/// Hints looked at in one round.
const ROUND_MAX: usize = 1024;

/// How far the expirer has come. One round runs at a time; commits note hints at any time.
#[derive(Debug)]
pub struct Progress {
    /// No hint row is earlier than this, unix milliseconds, but for those noted in `filed_ms`. Only rounds move it.
    low_water_ms: AtomicU64,
    /// The earliest hint filed since the last round began.
    filed_ms: AtomicU64,
}

impl Default for Progress {
    /// Nothing is known: the first round begins at the very first row.
    fn default() -> Progress {
        Progress { low_water_ms: AtomicU64::new(0), filed_ms: AtomicU64::new(u64::MAX) }
    }
}

impl Progress {
    /// A commit has filed a hint; usually far ahead of the mark. Called once the row is there.
    pub(super) fn note_hint(&self, hint_ms: u64) {
        self.filed_ms.fetch_min(hint_ms, Ordering::AcqRel);
    }

    /// Nothing is known any more. A round that runs right now does not undo this.
    pub(super) fn restart(&self) {
        self.note_hint(0);
    }

    /// Where a round must begin. A hint whose row it does not find is noted after this, and thus for the next round.
    fn begin_round(&self) -> u64 {
        let filed_ms = self.filed_ms.swap(u64::MAX, Ordering::AcqRel);
        self.low_water_ms.load(Ordering::Acquire).min(filed_ms)
    }

    /// The round has seen to every row before this.
    fn end_round(&self, reached_ms: u64) {
        self.low_water_ms.store(reached_ms, Ordering::Release);
    }
}

impl Keyspace {
    /// One round. True when there is more to do at once.
    pub fn expire_round(&self) -> Outcome<bool> {
        let from_ms = self.expiry.begin_round();
        let ended = self.expire_from(from_ms);
        if ended.is_err() {
            // What it has not come to is for the next round.
            self.expiry.note_hint(from_ms);
        }
        ended
    }

    fn expire_from(&self, from_ms: u64) -> Outcome<bool> {
        let now_ms = self.clock.now_ms();
        let hints = self.due_hints(from_ms, now_ms)?;
        let full = hints.len() == ROUND_MAX;
        let reached = if full { hints.last().map_or(from_ms, |(hint_ms, _)| *hint_ms) } else { now_ms + 1 };
        let mut scratch = Scratch::default();
        for (hint_ms, row) in hints {
            match self.expire_key(hint_ms, &row, now_ms, &mut scratch) {
                Err(stop @ (Stop::Unavailable(_) | Stop::Damaged(_))) if self.store.failure().is_none() => {
                    let reason = stop.trouble();
                    // Those behind it are not to wait for it. Its hint stays, for the next start; who reads it is told, too.
                    tracing::warn!(row = %row.escape_ascii(), reason, "a key could not be expired");
                }
                ended => ended?,
            }
        }
        self.expiry.end_round(reached);
        Ok(full)
    }

    fn due_hints(&self, from_ms: u64, now_ms: u64) -> Outcome<Vec<(u64, RowKey)>> {
        let mut hints = Vec::new();
        let guard = self.store.db().map_err(|error| Stop::Unavailable(error.0))?;
        let Some(db) = guard.as_deref() else { return Ok(hints) };
        let view = db.newest(Tier::Disk);
        view.scan(Family::Ttl, &hint_bound(from_ms), &hint_bound(now_ms + 1), Direction::Up, |row, _| {
            if let Some((hint_ms, head_row)) = split_hint_row(row) {
                hints.push((hint_ms, RowKey::from_slice(head_row)));
            }
            let flow =
                if hints.len() < ROUND_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            Ok::<_, Stop>(flow)
        })?;
        Ok(hints)
    }

    fn expire_key(&self, hint_ms: u64, row: &RowKey, now_ms: u64, scratch: &mut Scratch) -> Outcome {
        let names = split_head_row(row);
        let mut plan = LockPlan::default();
        if let Some((_, position, _)) = names {
            plan.add(StripeId::of(position), true);
        }
        let _locked = self.lock_inside(&plan, Holder::Pool);
        let guard = self.store.db().map_err(|error| Stop::Unavailable(error.0))?;
        let Some(db) = guard.as_deref() else { return Ok(()) };
        let run = RunIdentity { now_ms, now_us: now_ms * 1000, seed: 0 };
        let databases = self.databases();
        let lives_in = names.and_then(|(namespace, ..)| {
            databases.iter().position(|database| database.namespace() == namespace)
        });
        let mut txn = self.begin(db.newest(Tier::Disk), Mode::Locked, &run, scratch);
        let expired = match lives_in {
            Some(number) => txn.expire_if_due(number as u32, row, hint_ms)?,
            None => false,
        };
        txn.drop_hint(hint_ms, row);
        txn.commit()?;
        if expired {
            self.figures.count_expired();
        }
        Ok(())
    }
}

impl super::Txn<'_> {
    /// Deletes the key of a hint if it is due, files the hint again if the key expires later. True when it was deleted.
    fn expire_if_due(&mut self, database: u32, row: &RowKey, hint_ms: u64) -> Outcome<bool> {
        let Some(key) = self.key_of_row(database, row) else { return Ok(false) };
        self.set_quiet(true);
        let Some(stored) = self.load_even_expired(&key)? else { return Ok(false) };
        match stored.expiry() {
            Some(expiry) if expiry.at_ms <= self.now_ms() => {
                self.remove_expired(&key)?;
                Ok(true)
            }
            Some(expiry) if expiry.hint_ms == hint_ms => {
                let body = stored.body();
                let head = NewHead {
                    data_type: stored.data_type(),
                    note: stored.note(),
                    expires_at_ms: Some(expiry.at_ms),
                    body,
                };
                self.save(&key, head)?;
                self.unmark_changed(&key);
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn drop_hint(&mut self, hint_ms: u64, row: &RowKey) {
        let hint = crate::encoding::ttl::hint_row(hint_ms, row);
        self.scratch.overlay.delete(Family::Ttl, &hint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::head::{Body, DataType};
    use crate::keyspace::testbed::Testbed;
    use crate::store::Batch;

    #[test]
    fn a_hint_filed_during_a_round_behind_its_back_is_where_the_next_round_begins() {
        let progress = Progress::default();
        assert_eq!(progress.begin_round(), 0);
        progress.end_round(100);
        assert_eq!(progress.begin_round(), 100);
        // The round has read its rows; one is filed above the old mark, at a time the round has passed.
        progress.note_hint(500);
        progress.note_hint(700);
        progress.end_round(1001);
        assert_eq!(progress.begin_round(), 500);
        progress.end_round(1001);
        progress.note_hint(5000);
        assert_eq!(progress.begin_round(), 1001);
    }

    /// A key that expires in two seconds, by the clock of `bed`.
    fn save_expiring(bed: &Testbed, name: &[u8]) -> RowKey {
        bed.run(|txn| {
            let key = txn.key(0, name);
            let head = NewHead {
                expires_at_ms: Some(1_002_000),
                ..NewHead::new(DataType::String, Body::Whole(b"v"))
            };
            txn.save(&key, head)?;
            Ok(RowKey::from_slice(key.row()))
        })
    }

    fn damage(bed: &Testbed, row: &RowKey) {
        let guard = bed.keyspace.store().db().unwrap();
        let db = guard.as_deref().unwrap();
        let mut batch = Batch::default();
        batch.put(db, Family::Keys, row, b"\xff");
        bed.keyspace.store().write(db, batch, true).unwrap();
        bed.keyspace.hot().clear();
    }

    #[test]
    fn a_damaged_key_keeps_no_other_from_expiring() {
        let bed = Testbed::open();
        let rows = [b"a", b"b", b"c"].map(|name| save_expiring(&bed, name));
        damage(&bed, &rows[1]);
        bed.keyspace.clock.set_ms(1_010_000);
        assert!(!bed.keyspace.expire_round().unwrap());
        let left = |row: &RowKey| {
            let guard = bed.keyspace.store().db().unwrap();
            guard.as_deref().unwrap().newest(Tier::Disk).get(Family::Keys, row).unwrap().is_some()
        };
        assert_eq!([0, 1, 2].map(|number| left(&rows[number])), [false, true, false]);
    }

    #[test]
    fn a_damaged_head_fails_the_command_that_meets_it_not_the_commit() {
        let bed = Testbed::open();
        damage(&bed, &save_expiring(&bed, b"k"));
        let mut has_saved = false;
        let ended = bed.run_as(Mode::Locked, |txn| {
            let key = txn.key(0, b"k");
            txn.save(&key, NewHead::new(DataType::String, Body::Whole(b"w")))?;
            has_saved = true;
            Ok(())
        });
        assert!(matches!(ended, Err(Stop::Damaged(_))) && !has_saved);
    }

    #[test]
    fn a_key_goes_when_its_time_is_up_and_not_before_however_that_was_changed() {
        let bed = Testbed::open();
        let save = |name: &[u8], at_ms: u64| {
            bed.run(|txn| {
                let key = txn.key(0, name);
                let head = NewHead::new(DataType::String, Body::Whole(b"v"));
                txn.save(&key, head.expiring(Some(at_ms)))?;
                Ok(key)
            })
        };
        let keys = [(b"prolonged", 1_200_000), (b"shortened", 1_050_000)].map(|(name, at_ms)| {
            save(name, 1_100_000);
            save(name, at_ms)
        });
        let left = |now_ms| {
            bed.keyspace.clock.set_ms(now_ms);
            assert!(!bed.keyspace.expire_round().unwrap());
            let guard = bed.keyspace.store().db().unwrap();
            let view = guard.as_deref().unwrap().newest(Tier::Disk);
            keys.each_ref().map(|key| view.get(Family::Keys, key.row()).unwrap().is_some())
        };
        assert_eq!(left(1_049_999), [true, true]);
        assert_eq!(left(1_050_000), [true, false]);
        // Its first hint is met, and filed again.
        assert_eq!(left(1_150_000), [true, false]);
        let newest = bed.keyspace.store().with_db(|db| db.latest_sequence()).unwrap();
        assert_eq!(bed.keyspace.stripes().sequence(keys[0].stripe()), newest, "a reply waits for that, too");
        assert_eq!(left(1_200_000), [false, false]);
    }

    #[test]
    fn a_restart_during_a_round_outlives_it() {
        let progress = Progress::default();
        progress.end_round(100);
        progress.begin_round();
        progress.restart();
        progress.end_round(1001);
        assert_eq!(progress.begin_round(), 0);
    }
}
