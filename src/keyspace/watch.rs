//! WATCH: a flag per client, raised by the commit that changes a watched key.
//!
//! A commit raises flags while it still holds the key's exclusive lock, and EXEC looks at its flag under shared locks on all
//! watched keys: a change is either seen by EXEC or comes after it. Locks: the shard mutex is innermost.

use crate::encoding::row::RowKey;
use ahash::AHashMap;
use parking_lot::Mutex;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const SHARDS: usize = 64;

/// Raised when something watched has changed. One per client and WATCH round.
pub type WatchFlag = Arc<AtomicBool>;

struct Entry {
    flag: WatchFlag,
    existed: bool,
}

/// Who watches each key.
type Watched = AHashMap<RowKey, Vec<Entry>>;

/// All watched keys.
pub struct Watches {
    shards: Box<[Mutex<Watched>]>,
    hasher: RandomState,
    count: AtomicUsize,
}

impl Default for Watches {
    fn default() -> Watches {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Watches { shards, hasher: RandomState::new(), count: AtomicUsize::new(0) }
    }
}

impl Watches {
    fn shard(&self, row: &[u8]) -> &Mutex<Watched> {
        &self.shards[(self.hasher.hash_one(row) % SHARDS as u64) as usize]
    }

    /// Watches a key (its head row). `existed` says whether there was a key.
    pub fn add(&self, row: &[u8], flag: &WatchFlag, existed: bool) {
        let entry = Entry { flag: Arc::clone(flag), existed };
        self.shard(row).lock().entry(RowKey::from_slice(row)).or_default().push(entry);
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Stops watching a key with this flag.
    pub fn remove(&self, row: &[u8], flag: &WatchFlag) {
        let mut shard = self.shard(row).lock();
        if let Some(entries) = shard.get_mut(row) {
            let before = entries.len();
            entries.retain(|entry| !Arc::ptr_eq(&entry.flag, flag));
            self.count.fetch_sub(before - entries.len(), Ordering::AcqRel);
            if entries.is_empty() {
                shard.remove(row);
            }
        }
    }

    /// A key has changed: raises the flags of all who watch it. Called under its exclusive lock.
    pub fn touch(&self, row: &[u8]) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(entries) = self.shard(row).lock().get(row) {
            for entry in entries {
                entry.flag.store(true, Ordering::Release);
            }
        }
    }

    /// A whole namespace was emptied (`only_existing`) or swapped. Called under the gate.
    pub fn touch_namespace(&self, prefix: &[u8], only_existing: bool) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        for shard in &self.shards {
            for (row, entries) in shard.lock().iter() {
                if row.starts_with(prefix) {
                    for entry in entries.iter().filter(|entry| entry.existed || !only_existing) {
                        entry.flag.store(true, Ordering::Release);
                    }
                }
            }
        }
    }

    /// Raises every flag: after a reopen.
    pub fn touch_all(&self) {
        self.touch_namespace(b"", false);
    }

    /// Keys watched, counted once per client.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// True when nobody watches anything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_watch_the_key_are_told() {
        let watches = Watches::default();
        let (one, two) = (WatchFlag::default(), WatchFlag::default());
        watches.add(b"a", &one, true);
        watches.add(b"b", &two, true);
        watches.touch(b"a");
        assert!(one.load(Ordering::Acquire) && !two.load(Ordering::Acquire));
        watches.remove(b"b", &two);
        watches.touch(b"b");
        assert!(!two.load(Ordering::Acquire));
        assert_eq!(watches.len(), 1);
    }

    #[test]
    fn emptying_a_namespace_tells_those_whose_key_existed() {
        let watches = Watches::default();
        let (there, absent) = (WatchFlag::default(), WatchFlag::default());
        watches.add(b"n1a", &there, true);
        watches.add(b"n1b", &absent, false);
        watches.touch_namespace(b"n1", true);
        assert!(there.load(Ordering::Acquire) && !absent.load(Ordering::Acquire));
    }
}
