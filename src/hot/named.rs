//! Decoded helpers by name, within a byte budget: the list that `ranks` and `marks` keep theirs in. Beyond the budget the helper unused
//! for the longest goes. One that was evicted while somebody works with it is simply not found by the next.
//!
//! Lock rule: the list has one mutex, held for a probe; each helper has its own, which is never taken here.

use ahash::RandomState;
use lru::LruCache;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// What a helper is known by: the kind of its collection's rows, then the bytes they all begin with.
pub type Name = SmallVec<[u8; 16]>;

/// What an entry of the list takes beside the helper: node, map slot, mutex and counts.
pub(super) const ENTRY_BYTES: usize = 200;

struct Held<T> {
    helper: Arc<Mutex<T>>,
    bytes: usize,
}

type List<T> = LruCache<Name, Held<T>, RandomState>;

/// See the head of the file.
pub(super) struct Named<T> {
    list: Mutex<List<T>>,
    /// Helpers by the first byte of their names, so that most commits need not look.
    kinds: [AtomicU32; 256],
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
}

impl<T> Named<T> {
    pub(super) fn new(bytes_max: usize) -> Named<T> {
        Named {
            list: Mutex::new(LruCache::unbounded_with_hasher(RandomState::new())),
            kinds: std::array::from_fn(|_| AtomicU32::new(0)),
            bytes: AtomicUsize::new(0),
            bytes_max: AtomicUsize::new(bytes_max),
        }
    }

    /// True if there may be one whose name begins with `kind`.
    pub(super) fn has(&self, kind: u8) -> bool {
        self.kinds[usize::from(kind)].load(Ordering::Acquire) > 0
    }

    /// The helper of this name, if it is here; no use of it.
    pub(super) fn peek(&self, name: &Name) -> Option<Arc<Mutex<T>>> {
        self.list.lock().peek(name).map(|held| Arc::clone(&held.helper))
    }

    /// The same, counted as a use.
    pub(super) fn get(&self, name: &Name) -> Option<Arc<Mutex<T>>> {
        self.list.lock().get(name).map(|held| Arc::clone(&held.helper))
    }

    /// The helper of this name, or a new one of so many bytes. Counts as a use.
    pub(super) fn get_or_put(&self, name: Name, new: impl FnOnce() -> (T, usize)) -> Arc<Mutex<T>> {
        let mut list = self.list.lock();
        if let Some(held) = list.get(&name) {
            return Arc::clone(&held.helper);
        }
        let (helper, helper_bytes) = new();
        self.put(&mut list, name, helper, helper_bytes)
    }

    /// Keeps a helper in place of the old one of its name, if all that is allowed is enough for it.
    pub(super) fn replace(&self, name: Name, helper: T, helper_bytes: usize) {
        let mut list = self.list.lock();
        self.take(&mut list, &name);
        if ENTRY_BYTES + helper_bytes <= self.bytes_max.load(Ordering::Relaxed) {
            self.put(&mut list, name, helper, helper_bytes);
            self.shrink(&mut list);
        }
    }

    /// Says how large a helper is now. Others go if there is no room; false if this one went, for it is too large or was here no more.
    pub(super) fn charge(&self, name: &Name, helper: &Arc<Mutex<T>>, helper_bytes: usize) -> bool {
        let mut list = self.list.lock();
        let bytes = ENTRY_BYTES + helper_bytes;
        match list.peek_mut(name) {
            Some(held) if Arc::ptr_eq(&held.helper, helper) => {
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                self.bytes.fetch_sub(std::mem::replace(&mut held.bytes, bytes), Ordering::Relaxed);
            }
            _ => return false,
        }
        if bytes > self.bytes_max.load(Ordering::Relaxed) {
            self.take(&mut list, name);
            return false;
        }
        self.shrink(&mut list);
        list.contains(name)
    }

    /// Forgets a helper.
    pub(super) fn remove(&self, name: &Name) {
        self.take(&mut self.list.lock(), name);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        let mut list = self.list.lock();
        while self.drop_oldest(&mut list) {}
    }

    pub(super) fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.shrink(&mut self.list.lock());
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.lock().len()
    }

    fn put(&self, list: &mut List<T>, name: Name, helper: T, helper_bytes: usize) -> Arc<Mutex<T>> {
        let (helper, bytes) = (Arc::new(Mutex::new(helper)), ENTRY_BYTES + helper_bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.kinds[kind_of(&name)].fetch_add(1, Ordering::Release);
        list.put(name, Held { helper: Arc::clone(&helper), bytes });
        helper
    }

    fn take(&self, list: &mut List<T>, name: &Name) {
        if let Some((name, held)) = list.pop_entry(name) {
            self.forget(&name, &held);
        }
    }

    fn shrink(&self, list: &mut List<T>) {
        while self.bytes() > self.bytes_max.load(Ordering::Relaxed) && self.drop_oldest(list) {}
    }

    fn drop_oldest(&self, list: &mut List<T>) -> bool {
        let oldest = list.pop_lru();
        if let Some((name, held)) = &oldest {
            self.forget(name, held);
        }
        oldest.is_some()
    }

    fn forget(&self, name: &Name, held: &Held<T>) {
        self.bytes.fetch_sub(held.bytes, Ordering::Relaxed);
        self.kinds[kind_of(name)].fetch_sub(1, Ordering::Release);
    }
}

fn kind_of(name: &Name) -> usize {
    name.first().map_or(0, |&kind| usize::from(kind))
}
