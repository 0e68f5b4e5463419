//! The expirer: removes keys whose time is up, found through the hints of the `ttl` family.
//!
//! A round reads hints from the low-water mark up to now. For each it looks at the head under the key's lock: due, then the key
//! is deleted; not yet due (its expiry was extended under the old hint), then the hint is filed again at the true time; anything
//! else, the hint is stale and only removed. The mark lets the next round begin behind the rows this one removed.
//!
//! Runs on the pool. Reads hide due keys at once, so the expirer is about space, DBSIZE and events, not about truth.

use super::stripes::StripeId;
use super::txn::{Mode, NewHead, RunIdentity, Scratch};
use super::{Holder, Keyspace, LockPlan, Outcome, Stop};
use crate::encoding::Family;
use crate::encoding::row::{RowKey, split_head_row};
use crate::encoding::ttl::{hint_bound, split_hint_row};
use crate::store::{Direction, Tier};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

/// Hints looked at in one round.
const ROUND_MAX: usize = 1024;

/// How far the expirer has come.
#[derive(Debug, Default)]
pub struct Progress {
    /// No hint row is earlier than this, unix milliseconds.
    low_water_ms: AtomicU64,
}

impl Progress {
    /// A commit has filed a hint; usually far ahead of the mark.
    pub(super) fn note_hint(&self, hint_ms: u64) {
        self.low_water_ms.fetch_min(hint_ms, Ordering::AcqRel);
    }

    pub(super) fn restart(&self) {
        self.low_water_ms.store(0, Ordering::Release);
    }
}

impl Keyspace {
    /// One round. True when there is more to do at once.
    pub fn expire_round(&self) -> Outcome<bool> {
        let now_ms = self.clock.now_ms();
        let from_ms = self.expiry.low_water_ms.load(Ordering::Acquire);
        let hints = self.due_hints(from_ms, now_ms)?;
        let full = hints.len() == ROUND_MAX;
        let reached = if full { hints.last().map_or(from_ms, |(hint_ms, _)| *hint_ms) } else { now_ms + 1 };
        let mut scratch = Scratch::default();
        for (hint_ms, row) in hints {
            self.expire_key(hint_ms, &row, now_ms, &mut scratch)?;
        }
        // A hint filed meanwhile below the mark has lowered it; then it stays low.
        let _ =
            self.expiry.low_water_ms.compare_exchange(from_ms, reached, Ordering::AcqRel, Ordering::Acquire);
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
        let _inside = self.gate.enter_pool();
        let guard = self.store.db().map_err(|error| Stop::Unavailable(error.0))?;
        let Some(db) = guard.as_deref() else { return Ok(()) };
        let run = RunIdentity { now_ms, now_us: now_ms * 1000, seed: 0 };
        let databases = self.databases();
        let lives_in = split_head_row(row).and_then(|(namespace, position, _)| {
            let number = databases.iter().position(|database| database.namespace() == namespace)?;
            Some((number as u32, StripeId::of(position)))
        });
        let mut plan = LockPlan::default();
        if let Some((_, stripe)) = lives_in {
            plan.add(stripe, true);
        }
        let _held = self.stripes.lock(&plan, Holder::Pool);
        let mut txn = self.begin(db.newest(Tier::Disk), Mode::Locked, &run, scratch);
        let expired = match lives_in {
            Some((number, _)) => txn.expire_if_due(number, row, hint_ms)?,
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
