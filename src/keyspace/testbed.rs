//! A keyspace in a temporary folder, for the unit tests of the floors above, which may not know the store or the hot tier.

use super::{Keyspace, Mode, Outcome, RunIdentity, Scratch, Txn};
use crate::base::clock::Clock;
use crate::hot::{HotTier, Policy};
use crate::store::{Store, StoreOptions, Tier, View};
use std::path::Path;
use std::sync::Arc;

/// An empty keyspace with one database, gone when it is dropped.
pub struct Testbed {
    /// The keyspace.
    pub keyspace: Keyspace,
    _folder: Option<tempfile::TempDir>,
}

impl Testbed {
    /// Opens one. Its clock stands still.
    pub fn open() -> Testbed {
        let folder = tempfile::tempdir().unwrap();
        let bed = Testbed::open_at(folder.path());
        Testbed { _folder: Some(folder), ..bed }
    }

    /// Opens one in a folder that is the caller's.
    pub fn open_at(folder: &Path) -> Testbed {
        let clock = Clock::manual(1_000_000);
        let store = Store::open(folder, StoreOptions::default()).unwrap();
        let hot = HotTier::new(1 << 20, Policy::Lru, clock.clone());
        let keyspace = Keyspace::open(Arc::new(store), hot, clock, 1, 1).unwrap();
        Testbed { keyspace, _folder: None }
    }

    /// Runs `work` in a transaction of its own and commits it.
    pub fn run<T>(&self, work: impl FnOnce(&mut Txn<'_>) -> Outcome<T>) -> T {
        self.run_as(Mode::Locked, work).unwrap()
    }

    /// The same in a run of some kind, if it comes to its end.
    pub fn run_as<T>(&self, mode: Mode, work: impl FnOnce(&mut Txn<'_>) -> Outcome<T>) -> Outcome<T> {
        let guard = self.keyspace.store().db().unwrap();
        let db = guard.as_deref().unwrap();
        let run = RunIdentity { now_ms: 1_000_000, now_us: 1_000_000_000, seed: 1 };
        let mut scratch = Scratch::default();
        let snapshot = db.snapshot();
        let newest = db.newest(Tier::Disk);
        let view = if mode == Mode::Heavy { View { snapshot: Some(&snapshot), ..newest } } else { newest };
        let mut txn = self.keyspace.begin(view, mode, &run, &mut scratch);
        let answer = work(&mut txn)?;
        txn.commit()?;
        Ok(answer)
    }
}
