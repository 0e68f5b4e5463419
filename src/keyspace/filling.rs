//! Rows that were read from the disk for a run that could not wait for it, on their way into the hot tier.
//!
//! They are read by other threads and without a lock (`server::readers`), so a commit may have changed them since. Every stripe knows
//! the sequence of its last commit: a row that was read as of a sequence at or above it is the row as it is now. That is looked at,
//! and the row put in, under the stripe's lock; a stripe that is not free is not waited for. What is not put in will be read
//! again by the run itself.

use super::stripes::{Holder, StripeId};
use super::{Keyspace, hot_name};
use crate::encoding::Family;
use crate::encoding::row::{RowKey, split_head_row};
use crate::hot::{Lookup, Source};
use std::sync::Arc;

/// A row that is not in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdRow {
    /// Its family.
    pub family: Family,
    /// Its key.
    pub row: RowKey,
}

/// What was found on disk.
#[derive(Debug, Clone)]
pub struct Found {
    /// The row's value, or nothing if there is no such row.
    pub value: Option<Arc<[u8]>>,
    /// Every commit up to this sequence had been seen.
    pub as_of: u64,
    /// The opening of the store it was read from.
    pub epoch: u64,
}

impl Keyspace {
    /// Whether the hot tier knows a row.
    pub fn is_hot(&self, family: Family, row: &[u8]) -> bool {
        self.hot.get_quiet(hot_name(family, row)) != Lookup::Miss
    }

    /// Puts head rows into the hot tier as far as nothing has changed since they were read. For a worker, whose gate slot it is.
    /// Gives how many were put in.
    pub fn fill<'f>(&self, slot: usize, rows: impl Iterator<Item = (&'f ColdRow, &'f Found)>) -> usize {
        // A closed gate: the databases are emptied, or the store is reopened.
        let Some(_inside) = self.gate.enter(slot) else { return 0 };
        let epoch = self.store.epoch();
        rows.filter(|(cold, found)| found.epoch == epoch && self.fill_one(cold, found)).count()
    }

    fn fill_one(&self, cold: &ColdRow, found: &Found) -> bool {
        let Some((_, position, _)) = split_head_row(&cold.row) else { return false };
        let stripe = StripeId::of(position);
        if cold.family != Family::Keys || !self.stripes.acquire(stripe, false, Holder::Worker) {
            return false;
        }
        let is_current = self.stripes.sequence(stripe) <= found.as_of;
        if is_current {
            let name = hot_name(cold.family, &cold.row);
            match &found.value {
                Some(value) => self.hot.put(name, value, Source::Ahead),
                None => self.hot.put_absent(name, Source::Ahead),
            }
        }
        self.stripes.release(stripe, false);
        is_current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::head::{Body, DataType};
    use crate::keyspace::testbed::Testbed;
    use crate::keyspace::{Mode, NewHead};

    fn set(bed: &Testbed, value: &[u8]) {
        bed.run(|txn| {
            let key = txn.key(0, b"k");
            txn.save(&key, NewHead::new(DataType::String, Body::Whole(value)))
        });
    }

    /// The row of key `k` as it is on disk now, the hot tier empty.
    fn read(bed: &Testbed) -> (ColdRow, Found) {
        let row = bed.run(|txn| Ok(txn.key(0, b"k").row().clone()));
        let cold = ColdRow { family: Family::Keys, row };
        let store = bed.keyspace.store();
        let (epoch, cold_row) = (store.epoch(), cold.clone());
        let found = store.with_db(|db| db.read_cold(cold_row.family, &cold_row.row)).unwrap().unwrap();
        bed.keyspace.hot().clear();
        (cold, Found { value: found.0, as_of: found.1, epoch })
    }

    #[test]
    fn a_row_is_put_in_as_long_as_nobody_has_changed_it() {
        let bed = Testbed::open();
        set(&bed, b"old");
        let (cold, found) = read(&bed);
        assert!(!bed.keyspace.is_hot(cold.family, &cold.row));
        assert_eq!(bed.keyspace.fill(1, [(&cold, &found)].into_iter()), 1);
        assert!(bed.keyspace.is_hot(cold.family, &cold.row));
        set(&bed, b"new");
        bed.keyspace.hot().clear();
        assert_eq!(bed.keyspace.fill(1, [(&cold, &found)].into_iter()), 0, "an old value would come back");
        assert!(!bed.keyspace.is_hot(cold.family, &cold.row));
    }

    #[test]
    fn a_run_without_locks_puts_nothing_in_and_one_from_a_snapshot_looks_past_what_is_there() {
        let bed = Testbed::open();
        set(&bed, b"old");
        let (cold, _) = read(&bed);
        let is_old = |txn: &mut crate::keyspace::Txn<'_>| {
            let key = txn.key(0, b"k");
            let stored = txn.load(&key)?;
            Ok(stored.is_some_and(|stored| matches!(stored.body(), Body::Whole(b"old"))))
        };
        for (mode, fills) in [(Mode::Dry, false), (Mode::Heavy, false), (Mode::Locked, true)] {
            // A dry run cannot commit.
            assert_eq!(bed.run_as(mode, is_old).is_ok(), mode != Mode::Dry);
            assert_eq!(bed.keyspace.is_hot(cold.family, &cold.row), fills, "{mode:?}");
        }
        let seen = bed.run_as(Mode::Heavy, |txn| {
            set(&bed, b"new");
            is_old(txn)
        });
        assert_eq!(seen.ok(), Some(true));
    }

    #[test]
    fn nothing_of_another_opening_is_put_in() {
        let bed = Testbed::open();
        set(&bed, b"v");
        let (cold, found) = read(&bed);
        let found = Found { epoch: found.epoch + 1, ..found };
        assert_eq!(bed.keyspace.fill(1, [(&cold, &found)].into_iter()), 0);
    }

    #[test]
    fn a_stripe_somebody_holds_is_not_waited_for() {
        let bed = Testbed::open();
        set(&bed, b"v");
        let (cold, found) = read(&bed);
        let (_, position, _) = split_head_row(&cold.row).unwrap();
        let stripe = StripeId::of(position);
        assert!(bed.keyspace.stripes().acquire(stripe, true, Holder::Worker));
        assert_eq!(bed.keyspace.fill(1, [(&cold, &found)].into_iter()), 0);
        bed.keyspace.stripes().release(stripe, true);
        assert_eq!(bed.keyspace.fill(1, [(&cold, &found)].into_iter()), 1);
    }
}
