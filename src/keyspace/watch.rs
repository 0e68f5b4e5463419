//! WATCH: a flag per client, raised by the commit that changes a watched key.
//!
//! A commit raises flags while it still holds the key's exclusive lock, and EXEC looks at its flag under shared locks on all
//! watched keys: a change is either seen by EXEC or comes after it.
//!
//! What is watched is a key of a logical database, and FLUSHDB and SWAPDB give a database another namespace: then the watches
//! move along (`remap`), and a flag is raised only if the key is there on either side, as in Redis. A client still names a
//! moved watch by its first row. Locks: `moved` keeps watches from coming and going while they move; the shard mutex is
//! innermost.

use crate::encoding::row::RowKey;
use ahash::{AHashMap, RandomState};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const SHARDS: usize = 64;

/// Raised when something watched has changed. One per client and WATCH round.
pub type WatchFlag = Arc<AtomicBool>;

struct Entry {
    flag: WatchFlag,
    existed: bool,
    /// The row its client knows it by, if that is another one now.
    first_row: Option<RowKey>,
}

/// A database's old namespace and its new one, as the first bytes of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remapped {
    /// Where its keys were.
    pub from: [u8; 4],
    /// Where they are now; the same if it was swapped back and forth.
    pub to: [u8; 4],
}

/// Who watches each key.
type Watched = AHashMap<RowKey, Vec<Entry>>;

/// All watched keys.
pub struct Watches {
    shards: Box<[Mutex<Watched>]>,
    hasher: RandomState,
    count: AtomicUsize,
    /// Whether any watch has ever moved.
    moved: RwLock<bool>,
}

/// The row of the same key in another namespace.
fn moved_row(row: &[u8], to: [u8; 4]) -> RowKey {
    let mut moved = RowKey::from_slice(&to);
    moved.extend_from_slice(row.get(to.len()..).unwrap_or_default());
    moved
}

impl Default for Watches {
    fn default() -> Watches {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Watches { shards, hasher: RandomState::new(), count: AtomicUsize::new(0), moved: RwLock::new(false) }
    }
}

impl Watches {
    fn shard(&self, row: &[u8]) -> &Mutex<Watched> {
        &self.shards[(self.hasher.hash_one(row) % SHARDS as u64) as usize]
    }

    /// Watches a key (its head row). `existed` says whether there was a key.
    pub fn add(&self, row: &[u8], flag: &WatchFlag, existed: bool) {
        let _staying = self.moved.read();
        let entry = Entry { flag: Arc::clone(flag), existed, first_row: None };
        self.shard(row).lock().entry(RowKey::from_slice(row)).or_default().push(entry);
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Stops watching a key with this flag.
    pub fn remove(&self, row: &[u8], flag: &WatchFlag) {
        let moved = self.moved.read();
        let own = |entry: &Entry| Arc::ptr_eq(&entry.flag, flag);
        let mut removed = 0;
        {
            let mut shard = self.shard(row).lock();
            if let Some(entries) = shard.get_mut(row) {
                let before = entries.len();
                entries.retain(|entry| !own(entry));
                removed += before - entries.len();
                if entries.is_empty() {
                    shard.remove(row);
                }
            }
        }
        if removed == 0 && *moved {
            let known_as = |entry: &Entry| entry.first_row.as_deref().is_some_and(|first| first == row);
            for shard in &self.shards {
                shard.lock().retain(|_, entries| {
                    let before = entries.len();
                    entries.retain(|entry| !(own(entry) && known_as(entry)));
                    removed += before - entries.len();
                    !entries.is_empty()
                });
            }
        }
        self.count.fetch_sub(removed, Ordering::AcqRel);
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

    /// Databases have other namespaces now (no two of them the same one before). Their watches move along; raised are those of
    /// keys that were there, or that `exists`, which may wait for the disk, finds in the new place. Called under the gate.
    pub fn remap(&self, databases: &[Remapped], exists: impl Fn(&[u8]) -> bool) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let database_of = |row: &RowKey| databases.iter().find(|database| row.starts_with(&database.from));
        let mut rows = Vec::new();
        for shard in &self.shards {
            rows.extend(shard.lock().keys().filter_map(|row| Some(moved_row(row, database_of(row)?.to))));
        }
        // Before the lock, for which workers may wait.
        let asked: AHashMap<RowKey, bool> = rows.into_iter().map(|row| (row.clone(), exists(&row))).collect();
        let mut moved = self.moved.write();
        let mut moving = Vec::new();
        for shard in &self.shards {
            shard.lock().retain(|row, entries| {
                let to = database_of(row);
                if let Some(database) = to {
                    moving.push((row.clone(), database.to, std::mem::take(entries)));
                }
                to.is_none()
            });
        }
        *moved |= !moving.is_empty();
        for (old, to, mut entries) in moving {
            let row = moved_row(&old, to);
            // A watch that came meanwhile: its client tries again.
            let is_there = asked.get(&row).copied().unwrap_or(true);
            for entry in &mut entries {
                if entry.existed || is_there {
                    entry.flag.store(true, Ordering::Release);
                }
                entry.first_row.get_or_insert_with(|| old.clone());
            }
            self.shard(&row).lock().entry(row).or_default().append(&mut entries);
        }
    }

    /// Raises every flag: after a reopen.
    pub fn touch_all(&self) {
        for shard in &self.shards {
            for entry in shard.lock().values().flatten() {
                entry.flag.store(true, Ordering::Release);
            }
        }
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

    fn is_raised(flag: &WatchFlag) -> bool {
        flag.load(Ordering::Acquire)
    }

    fn to(from: &[u8; 4], to: &[u8; 4]) -> Remapped {
        Remapped { from: *from, to: *to }
    }

    #[test]
    fn watches_move_with_their_database_and_only_keys_on_either_side_break_them() {
        let watches = Watches::default();
        let [there, arrives, absent, elsewhere] = std::array::from_fn(|_| WatchFlag::default());
        watches.add(b"ns1ka", &there, true);
        watches.add(b"ns1kb", &arrives, false);
        watches.add(b"ns1kc", &absent, false);
        watches.add(b"ns2kc", &elsewhere, false);
        watches.remap(&[to(b"ns1k", b"ns2k"), to(b"ns2k", b"ns1k")], |row| row == b"ns2kb");
        assert_eq!([&there, &arrives, &absent, &elsewhere].map(is_raised), [true, true, false, false]);
        // A change of the key that now goes by this name in the watched database.
        watches.touch(b"ns1kc");
        assert_eq!([is_raised(&absent), is_raised(&elsewhere)], [false, true]);
        watches.touch(b"ns2kc");
        assert!(is_raised(&absent));
    }

    #[test]
    fn a_moved_watch_goes_by_its_first_row() {
        let watches = Watches::default();
        let flags: [WatchFlag; 2] = Default::default();
        watches.add(b"ns1ka", &flags[0], false);
        watches.add(b"ns1ka", &flags[1], false);
        watches.remap(&[to(b"ns1k", b"ns5k")], |_| false);
        watches.remap(&[to(b"ns5k", b"ns6k")], |_| false);
        watches.remove(b"ns1ka", &flags[0]);
        assert_eq!(watches.len(), 1);
        watches.touch(b"ns6ka");
        assert_eq!(flags.each_ref().map(is_raised), [false, true]);
        watches.remove(b"ns1ka", &flags[1]);
        assert!(watches.is_empty());
    }
}
