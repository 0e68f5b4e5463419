//! Collections too large for one batch: their rows are written before their head.
//!
//! The rows of a new place mean nothing to anybody as long as no head points there. So a large result (SUNIONSTORE, COPY of millions) is
//! written in small batches under a place of its own, and becomes real by the commit, which writes the head alone. Memory is bounded
//! by one batch, and other writers go in between.
//!
//! The first batch also files the place in `gc`, as a dead collection: a crash leaves garbage that the gc worker removes. The commit takes
//! that row away if a head points to the place by then. Meanwhile the version is in the list of those being built, which the gc worker
//! and the dead set leave alone; it is there until the run's scratch lets go of its `Intent`, after the commit or instead of it.
//!
//! A worker's run, and a small result, are not built so: their rows go with all others. A dry run writes nothing.

use super::error::{Outcome, Stop};
use super::gc::Progress;
use super::txn::{Key, Mode, Txn};
use crate::encoding::Family;
use crate::encoding::gc::DeadCollection;
use crate::encoding::head::DataType;
use crate::encoding::row::Place;
use crate::store::{Batch, Pace, WriteError};
use std::sync::Arc;

/// A batch is written when it has so many rows or bytes: about a millisecond, for which other writers wait.
const BATCH_ROWS: usize = 512;
const BATCH_BYTES: usize = 64 << 10;

/// A collection that is being written under a new place. Nobody reads its rows before the build has ended.
pub struct Build {
    data_type: DataType,
    place: Place,
    /// Rows are written as they come; else they are the run's own until the commit.
    is_direct: bool,
    batch: Batch,
    batch_bytes: usize,
    rows: u64,
    pace: Pace,
}

impl Build {
    /// Where the rows go, for the head.
    pub fn place(&self) -> Place {
        self.place
    }
}

/// A place with rows and without a head. Let go of, it is the gc worker's, unless a commit has given it a head.
pub(super) struct Intent {
    pub(super) dead: DeadCollection,
    progress: Arc<Progress>,
}

impl Intent {
    fn new(dead: DeadCollection, progress: &Arc<Progress>) -> Intent {
        progress.begin_build(dead.place.version);
        Intent { dead, progress: Arc::clone(progress) }
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        self.progress.end_build(self.dead.place.version);
    }
}

impl Txn<'_> {
    /// Begins a new collection under a key, of about `rows` rows. A head must be saved for it when it has ended.
    pub fn begin_build(&mut self, key: &Key, data_type: DataType, rows: u64) -> Build {
        let on_pool = matches!(self.mode, Mode::Heavy | Mode::Locked | Mode::Alone);
        let is_direct = on_pool && rows > self.keyspace.tuning().batch_rows_max() as u64;
        let place = self.new_place(key);
        let (batch, pace) = (Batch::default(), Pace::default());
        Build { data_type, place, is_direct, batch, batch_bytes: 0, rows, pace }
    }

    /// Adds a row, which begins with the build's place and was not added before.
    pub fn build_row(
        &mut self,
        build: &mut Build,
        key: &Key,
        family: Family,
        row: &[u8],
        value: &[u8],
    ) -> Outcome {
        if self.mode == Mode::Dry {
            return Ok(());
        }
        if !build.is_direct {
            return self.insert_element(key, family, row, value);
        }
        super::txn::check_len(row.len())?;
        build.batch.put(self.view.db, family, row, value);
        build.batch_bytes += row.len() + value.len();
        if build.batch.len() >= BATCH_ROWS || build.batch_bytes >= BATCH_BYTES {
            self.write_build(build)?;
        }
        Ok(())
    }

    /// All rows have been added.
    pub fn end_build(&mut self, mut build: Build) -> Outcome {
        if build.batch.is_empty() { Ok(()) } else { self.write_build(&mut build) }
    }

    fn write_build(&mut self, build: &mut Build) -> Outcome {
        let (db, store) = (self.view.db, &self.keyspace.store);
        let mut batch = std::mem::take(&mut build.batch);
        build.batch_bytes = 0;
        if !self.scratch.intents.iter().any(|intent| intent.dead.place == build.place) {
            let dead = DeadCollection { data_type: build.data_type, place: build.place, count: build.rows };
            // Known as being built before its row is there: see `Progress`.
            self.scratch.intents.push(Intent::new(dead, &self.keyspace.gc));
            batch.put(db, Family::Gc, &dead.row(), &dead.encode());
        }
        build.pace.wait(store, db);
        match store.write(db, batch, true) {
            Ok(_) => Ok(()),
            Err(WriteError::Stalled) => Err(Stop::Stall),
            Err(WriteError::Failed(reason)) => {
                self.keyspace.signal_failure();
                Err(Stop::Unavailable(reason))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::head::{Body, Spread};
    use crate::encoding::row::PLACE_LEN;
    use crate::keyspace::testbed::Testbed;
    use crate::keyspace::{Direction, NewHead, RunIdentity, Scratch};
    use crate::store::Tier;
    use std::ops::ControlFlow;

    const ROWS: u64 = 2000;

    fn build(txn: &mut Txn<'_>, name: &[u8]) -> Outcome {
        let key = txn.key(0, name);
        let mut build = txn.begin_build(&key, DataType::Set, ROWS);
        let place = build.place();
        for number in 0..ROWS {
            txn.build_row(&mut build, &key, Family::Set, &place.index_row(number as i64), b"")?;
        }
        txn.end_build(build)?;
        let body = Body::Spread(Spread { place, count: ROWS, extra: b"" });
        txn.save(&key, NewHead::new(DataType::Set, body))
    }

    /// Begins a run, hands it to `work`, and lets go of it without a commit.
    fn give_up(bed: &Testbed, mode: Mode, work: impl FnOnce(&mut Txn<'_>)) {
        let guard = bed.keyspace.store().db().unwrap();
        let db = guard.as_deref().unwrap();
        let snapshot = db.snapshot();
        let view = crate::store::View { db, snapshot: Some(&snapshot), tier: Tier::Disk };
        let run = RunIdentity { now_ms: 1, now_us: 1, seed: 1 };
        let mut scratch = Scratch::default();
        work(&mut bed.keyspace.begin(view, mode, &run, &mut scratch));
    }

    fn count(bed: &Testbed, family: Family) -> u64 {
        bed.run(|txn| {
            let mut rows = 0;
            txn.scan(family, b"", &[0xff; PLACE_LEN + 1], Direction::Up, |_, _| {
                rows += 1;
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(rows)
        })
    }

    fn open() -> Testbed {
        let bed = Testbed::open();
        bed.keyspace.tuning().set_batch_rows_max(100);
        bed
    }

    #[test]
    fn what_is_built_lives_once_it_has_a_head() {
        let bed = open();
        bed.run(|txn| build(txn, b"k"));
        assert_eq!((count(&bed, Family::Set), count(&bed, Family::Gc)), (ROWS, 0));
        bed.keyspace.gc_round().unwrap();
        assert_eq!(count(&bed, Family::Set), ROWS);
        // It can be replaced, and dies as anything else.
        bed.run(|txn| build(txn, b"k"));
        assert_eq!((count(&bed, Family::Set), count(&bed, Family::Gc)), (2 * ROWS, 1));
        bed.keyspace.gc_round().unwrap();
        assert_eq!((count(&bed, Family::Set), count(&bed, Family::Gc)), (ROWS, 0));
    }

    #[test]
    fn the_gc_worker_leaves_what_is_being_built_and_takes_what_was_given_up() {
        let bed = open();
        give_up(&bed, Mode::Heavy, |txn| {
            build(txn, b"k").unwrap();
            bed.keyspace.gc.notice();
            bed.keyspace.gc_round().unwrap();
            assert_eq!((count(&bed, Family::Set), count(&bed, Family::Gc)), (ROWS, 1));
        });
        bed.keyspace.gc_round().unwrap();
        assert_eq!((count(&bed, Family::Set), count(&bed, Family::Gc)), (0, 0));
    }

    #[test]
    fn what_was_removed_again_in_the_same_run_is_given_up() {
        let bed = open();
        bed.run(|txn| {
            build(txn, b"k")?;
            let key = txn.key(0, b"k");
            txn.delete(&key)
        });
        assert_eq!((count(&bed, Family::Set), count(&bed, Family::Gc)), (ROWS, 1));
        bed.keyspace.gc_round().unwrap();
        assert_eq!((count(&bed, Family::Set), count(&bed, Family::Gc)), (0, 0));
    }

    #[test]
    fn a_run_from_a_snapshot_sees_what_it_has_built() {
        let bed = open();
        give_up(&bed, Mode::Heavy, |txn| {
            build(txn, b"k").unwrap();
            let place = txn.scratch.made[0];
            assert!(txn.element(Family::Set, &place.index_row(7)).unwrap().is_some());
            let mut rows = 0;
            txn.scan(Family::Set, &place.prefix(), &place.end(), Direction::Up, |_, _| {
                rows += 1;
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
            assert_eq!(rows, ROWS);
        });
    }

    #[test]
    fn a_dry_run_and_a_small_build_write_nothing_before_the_commit() {
        let bed = open();
        give_up(&bed, Mode::Dry, |txn| build(txn, b"k").unwrap());
        bed.keyspace.tuning().set_batch_rows_max(ROWS as usize);
        give_up(&bed, Mode::Heavy, |txn| build(txn, b"k").unwrap());
        assert_eq!((count(&bed, Family::Set), count(&bed, Family::Gc)), (0, 0));
        bed.run(|txn| build(txn, b"k"));
        assert_eq!((count(&bed, Family::Set), count(&bed, Family::Gc)), (ROWS, 0));
    }

    #[test]
    fn a_reopen_in_the_middle_takes_nothing_that_is_being_built_for_dead() {
        let bed = open();
        give_up(&bed, Mode::Heavy, |txn| {
            build(txn, b"k").unwrap();
            bed.keyspace.rebuild(&bed.keyspace.gate().close()).unwrap();
            assert!(bed.keyspace.store().dead().is_empty());
        });
    }

    #[test]
    fn what_is_queued_as_dead_is_known_to_be_after_a_start() {
        let bed = open();
        bed.run(|txn| build(txn, b"k"));
        bed.run(|txn| {
            let key = txn.key(0, b"k");
            txn.delete(&key)
        });
        let folder = tempfile::tempdir().unwrap();
        let crashed = folder.path().join("crashed");
        bed.keyspace.store().checkpoint(&crashed).unwrap();
        let after = Testbed::open_at(&crashed);
        assert_eq!([&bed, &after].map(|bed| bed.keyspace.store().dead().len()), [1, 1]);
        after.keyspace.gc_round().unwrap();
        assert!(after.keyspace.store().dead().is_empty());
    }

    #[test]
    fn a_crash_in_the_middle_leaves_nothing_but_garbage_that_is_removed() {
        let bed = open();
        bed.run(|txn| build(txn, b"old"));
        let folder = tempfile::tempdir().unwrap();
        let crashed = folder.path().join("crashed");
        give_up(&bed, Mode::Heavy, |txn| {
            build(txn, b"new").unwrap();
            // As on a disk after a kill at this moment.
            bed.keyspace.store().checkpoint(&crashed).unwrap();
        });
        let after = Testbed::open_at(&crashed);
        assert_eq!((count(&after, Family::Set), count(&after, Family::Gc)), (2 * ROWS, 1));
        after.keyspace.gc_round().unwrap();
        assert_eq!((count(&after, Family::Set), count(&after, Family::Gc)), (ROWS, 0));
        let keys = after.run(|txn| {
            let [old, new] = [b"old", b"new"].map(|name| txn.key(0, name));
            Ok([txn.load(&old)?.is_some(), txn.load(&new)?.is_some()])
        });
        assert_eq!(keys, [true, false]);
    }
}
