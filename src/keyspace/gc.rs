//! The gc worker: removes the rows of dead collections and namespaces from disk, at a bounded rate.
//!
//! A dead collection's rows are deleted a few thousand at a time; a large one by one range tombstone per family, for those cost
//! every later read of the neighbourhood a little. When its rows are gone its `gc` row goes, and the dead set forgets it.
//! A dead namespace is removed by range tombstones between its exiles (see encoding/gc). Runs on the pool, holds no lock: nobody
//! can reach what is dead. Versions are never used twice.
//!
//! A collection that is being built (see `building`) has a `gc` row, too, and is not dead. Its version is in `Progress::building` from
//! before that row is written until after the commit that removes the row. So who finds a row, then finds its version not in the list,
//! and then finds the row still there, has found something dead.

use super::Keyspace;
use super::error::{Outcome, Stop};
use crate::encoding::Family;
use crate::encoding::gc::{DeadCollection, GcRow, exile_row, exiles_of};
use crate::encoding::row::{Namespace, Place, RowKey, Version, namespace_end};
use crate::store::{Batch, Db, Direction, Tier, WriteError};
use ahash::AHashSet;
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Rows deleted in one batch.
const BATCH_ROWS: usize = 1000;
/// From this many rows on a range tombstone is cheaper than deleting each.
const RANGE_ROWS_MIN: u64 = 10_000;
/// Dead collections looked at in one round.
const ROUND_MAX: usize = 256;

/// What is known about the queue.
#[derive(Debug, Default)]
pub struct Progress {
    waiting: AtomicBool,
    rows_removed: AtomicU64,
    building: Mutex<AHashSet<Version>>,
    /// A damaged row was found and told of.
    has_told_damage: AtomicBool,
}

impl Progress {
    /// Something has died.
    pub(super) fn notice(&self) {
        self.waiting.store(true, Ordering::Release);
    }

    /// Rows of this version are about to be written, and a `gc` row.
    pub(super) fn begin_build(&self, version: Version) {
        self.building.lock().insert(version);
    }

    /// The version has a head and no `gc` row by now, or is dead.
    pub(super) fn end_build(&self, version: Version) {
        self.building.lock().remove(&version);
        self.notice();
    }

    /// Whether a version is being built.
    pub(super) fn is_being_built(&self, version: Version) -> bool {
        self.building.lock().contains(&version)
    }
}

impl Keyspace {
    /// Rows the worker has deleted one by one.
    pub fn gc_rows_removed(&self) -> u64 {
        self.gc.rows_removed.load(Ordering::Relaxed)
    }

    /// One round: a bounded number of dead things. True when there is more to do.
    pub fn gc_round(&self) -> Outcome<bool> {
        if !self.gc.waiting.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let ended = self.remove_dead();
        if !matches!(ended, Ok(false)) {
            // What it has not come to is for the next round.
            self.gc.notice();
        }
        ended
    }

    fn remove_dead(&self) -> Outcome<bool> {
        let guard = self.store.db().map_err(|error| Stop::Unavailable(error.0))?;
        let Some(db) = guard.as_deref() else { return Ok(false) };
        let mut queue = Vec::new();
        db.newest(Tier::Disk).scan(Family::Gc, b"", &[u8::MAX], Direction::Up, |row, value| {
            match GcRow::decode(row, value) {
                Ok(GcRow::Exile(_)) => {}
                Ok(dead) => queue.push((RowKey::from_slice(row), dead)),
                Err(damaged) => {
                    if !self.gc.has_told_damage.swap(true, Ordering::AcqRel) {
                        let row = row.escape_ascii();
                        tracing::warn!(%row, %damaged, "what this row stands for, and others like it, stays on the disk");
                    }
                }
            }
            let flow =
                if queue.len() < ROUND_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            Ok::<_, Stop>(flow)
        })?;
        let more = queue.len() == ROUND_MAX;
        for (row, dead) in queue {
            match dead {
                GcRow::Collection(dead) if self.is_dead(db, &row, dead.place.version)? => {
                    self.remove_collection(db, &row, &dead)?;
                }
                GcRow::Collection(_) => {}
                GcRow::Namespace(namespace) => self.remove_namespace(db, &row, namespace)?,
                GcRow::Exile(_) => {}
            }
        }
        Ok(more)
    }

    /// Whether what a `gc` row names has no head: see the file's head.
    fn is_dead(&self, db: &Db, row: &RowKey, version: Version) -> Outcome<bool> {
        Ok(!self.gc.is_being_built(version) && db.newest(Tier::Disk).get(Family::Gc, row)?.is_some())
    }

    fn remove_collection(&self, db: &Db, row: &RowKey, dead: &DeadCollection) -> Outcome {
        for &family in dead.data_type.families() {
            if dead.count >= RANGE_ROWS_MIN {
                let mut batch = Batch::default();
                batch.delete_range(db, family, &dead.place.prefix(), &dead.place.end());
                self.write_gc(db, batch)?;
            } else {
                while self.remove_rows(db, family, &dead.place)? {}
            }
        }
        let mut batch = Batch::default();
        batch.delete(db, Family::Gc, row);
        batch.delete(db, Family::Gc, &exile_row(&dead.place));
        self.write_gc(db, batch)?;
        self.store.dead().forget(dead.place.version);
        Ok(())
    }

    /// Deletes one batch of a collection's rows. True when there may be more.
    fn remove_rows(&self, db: &Db, family: Family, place: &Place) -> Outcome<bool> {
        let mut batch = Batch::default();
        db.newest(Tier::Disk).scan(family, &place.prefix(), &place.end(), Direction::Up, |row, _| {
            batch.delete(db, family, row);
            let flow =
                if batch.len() < BATCH_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            Ok::<_, Stop>(flow)
        })?;
        let rows = batch.len();
        if rows > 0 {
            self.gc.rows_removed.fetch_add(rows as u64, Ordering::Relaxed);
            self.write_gc(db, batch)?;
        }
        Ok(rows == BATCH_ROWS)
    }

    fn remove_namespace(&self, db: &Db, row: &RowKey, namespace: Namespace) -> Outcome {
        let spared = self.spared_places(db, namespace)?;
        let start = RowKey::from_slice(&namespace.0.to_be_bytes());
        let end = namespace_end(namespace);
        let mut batch = Batch::default();
        batch.delete_range(db, Family::Keys, &start, &end);
        for family in Family::ALL.into_iter().filter(|family| family.holds_elements()) {
            let mut from = start.clone();
            for place in &spared {
                batch.delete_range(db, family, &from, &place.prefix());
                from = place.end();
            }
            batch.delete_range(db, family, &from, &end);
        }
        batch.delete(db, Family::Gc, row);
        self.write_gc(db, batch)
    }

    /// The exiles of a dead namespace, in row order; and those that lived *in* it are queued as dead.
    fn spared_places(&self, db: &Db, namespace: Namespace) -> Outcome<Vec<Place>> {
        let mut spared = Vec::new();
        let view = db.newest(Tier::Disk);
        let (from, to) = exiles_of(namespace);
        view.scan(Family::Gc, &from, &to, Direction::Up, |row, value| {
            if let GcRow::Exile(place) = GcRow::decode(row, value)? {
                spared.push(place);
            }
            Ok::<_, Stop>(ControlFlow::Continue(()))
        })?;
        let mut batch = Batch::default();
        let (all_from, all_to) = crate::encoding::gc::all_exiles();
        view.scan(Family::Gc, &all_from, &all_to, Direction::Up, |row, value| {
            if let GcRow::Exile(place) = GcRow::decode(row, value)?
                && value == namespace.0.to_be_bytes()
            {
                for family in Family::ALL.into_iter().filter(|family| family.holds_elements()) {
                    batch.delete_range(db, family, &place.prefix(), &place.end());
                }
                batch.delete(db, Family::Gc, row);
            }
            Ok::<_, Stop>(ControlFlow::Continue(()))
        })?;
        if !batch.is_empty() {
            self.write_gc(db, batch)?;
        }
        Ok(spared)
    }

    /// Writes for the gc. It may wait out a stall: it is nobody's command.
    fn write_gc(&self, db: &Db, batch: Batch) -> Outcome {
        match self.store.write(db, batch, true) {
            Ok(_) => Ok(()),
            Err(WriteError::Stalled) => Err(Stop::Stall),
            Err(WriteError::Failed(reason)) => {
                self.signal_failure();
                Err(Stop::Unavailable(reason))
            }
        }
    }
}
