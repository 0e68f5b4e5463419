//! Least frequently used, with the counter Redis has.
//!
//! A row carries an 8-bit counter that grows with the logarithm of its uses: it starts at 5, and a use
//! adds one with probability 1 / ((counter - 5) * log_factor + 1). It falls by one for every
//! `decay_minutes` without a use, worked out when it is looked at. The victim is the lowest of the
//! candidates in a pool of 16, which each eviction feeds with 5 rows picked at random; among equal
//! counters the longest unused goes. A pool makes 5 samples nearly as good as a full ordering: what was
//! once found cheap is not forgotten. Rows stand close together in chunks, so that a random pick is one
//! index, and a hash table of indexes finds them by key.
//!
//! No lock of its own: the shard's mutex is held around every call.

use crate::base::random::Rng;
use crate::hot::entry::{Hashed, Key, Probe, Value, heap_bytes, overwrite};
use crate::hot::{Lookup, Source};
use hashbrown::HashTable;

use super::Kept;

/// The memory of an entry without its key's and value's heap blocks: its place in a chunk, and 8 for the
/// table: 5 bytes a slot (4 + 1 control byte), 1.65 slots per entry on average.
pub(super) const ENTRY_BYTES: usize = 64 + 8;

/// The counter of a new row, as in Redis: above zero, so that it gets the time to be used.
const COUNTER_INIT: u8 = 5;
const SAMPLES: usize = 5;
const POOL_LEN_MAX: usize = 16;
/// Entries per chunk: 4 KB, so growing copies little and wastes little.
const CHUNK_LEN: usize = 64;

struct Entry {
    key: Key,
    value: Value,
    /// The second of the last use, from which the decay counts.
    used_s: u32,
    counter: u8,
}

/// Entries without gaps, in chunks that never move.
#[derive(Default)]
struct Slab {
    chunks: Vec<Vec<Entry>>,
}

impl Slab {
    fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK_LEN + last.len())
    }

    fn at(&self, index: u32) -> &Entry {
        &self.chunks[index as usize / CHUNK_LEN][index as usize % CHUNK_LEN]
    }

    fn at_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.chunks[index as usize / CHUNK_LEN][index as usize % CHUNK_LEN]
    }

    fn push(&mut self, entry: Entry) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_LEN => last.push(entry),
            _ => self.chunks.push(vec![entry]),
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        let last = self.chunks.last_mut()?;
        let entry = last.pop();
        if last.is_empty() {
            self.chunks.pop();
        }
        entry
    }
}

/// A row found cheap: its key's hash (where it stands may change) and how it ranked then.
struct Candidate {
    hash: u64,
    rank: u64,
}

/// One shard's rows under this policy.
pub(super) struct Lfu {
    slab: Slab,
    table: HashTable<u32>,
    pool: Vec<Candidate>,
    rng: Rng,
    bytes: usize,
    log_factor: u32,
    decay_minutes: u32,
}

pub(super) fn charge(key_len: usize, value_len: Option<usize>) -> usize {
    ENTRY_BYTES + heap_bytes(key_len, value_len)
}

fn charge_of(key: &[u8], value: &Value) -> usize {
    charge(key.len(), value.as_ref().map(|value| value.len()))
}

impl Lfu {
    pub(super) fn new(log_factor: u32, decay_minutes: u32, seed: u64) -> Lfu {
        Lfu {
            slab: Slab::default(),
            table: HashTable::new(),
            pool: Vec::new(),
            rng: Rng::new(seed),
            bytes: 0,
            log_factor,
            decay_minutes,
        }
    }

    /// Changes the counter's parameters; the counters stay.
    pub(super) fn set_parameters(&mut self, log_factor: u32, decay_minutes: u32) {
        self.log_factor = log_factor;
        self.decay_minutes = decay_minutes;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Finds a row and counts the use.
    pub(super) fn get(&mut self, probe: &Probe, now_s: u32) -> Lookup {
        let Some(index) = self.index(probe) else {
            return Lookup::Miss;
        };
        let entry = self.slab.at_mut(index);
        let counter = decayed(entry, now_s, self.decay_minutes);
        entry.counter = counter;
        entry.used_s = now_s;
        let above = u64::from(counter.saturating_sub(COUNTER_INIT));
        let odds = above * u64::from(self.log_factor) + 1;
        if counter < u8::MAX && (odds == 1 || self.rng.below(odds) == 0) {
            entry.counter += 1;
        }
        Lookup::of(&entry.value)
    }

    /// Finds a row without a trace.
    pub(super) fn peek(&self, probe: &Probe) -> Lookup {
        self.index(probe).map_or(Lookup::Miss, |index| Lookup::of(&self.slab.at(index).value))
    }

    /// The second of a row's last use and whether it is known absent.
    pub(super) fn used(&self, probe: &Probe) -> Option<(u32, bool)> {
        let entry = self.slab.at(self.index(probe)?);
        Some((entry.used_s, entry.value.is_none()))
    }

    /// A row's counter as of now.
    pub(super) fn counter(&self, probe: &Probe, now_s: u32) -> Option<u8> {
        Some(decayed(self.slab.at(self.index(probe)?), now_s, self.decay_minutes))
    }

    /// Backdates (or renews) a row's last use.
    pub(super) fn set_used(&mut self, probe: &Probe, used_s: u32) {
        if let Some(index) = self.index(probe) {
            self.slab.at_mut(index).used_s = used_s;
        }
    }

    /// Sets a row's counter, as of now.
    pub(super) fn set_counter(&mut self, probe: &Probe, counter: u8, now_s: u32) {
        if let Some(index) = self.index(probe) {
            let entry = self.slab.at_mut(index);
            entry.counter = counter;
            entry.used_s = now_s;
        }
    }

    /// Gives a row that is here another value and keeps its counter; false if it is not here.
    pub(super) fn replace(
        &mut self,
        probe: &Probe,
        value: Option<&[u8]>,
        now_s: u32,
        source: Source,
    ) -> bool {
        let Some(index) = self.index(probe) else {
            return false;
        };
        let entry = self.slab.at_mut(index);
        self.bytes -= charge_of(probe.bytes, &entry.value);
        overwrite(&mut entry.value, value);
        self.bytes += charge_of(probe.bytes, &entry.value);
        if source == Source::Write {
            // The decay counts from the last use, so what is due so far has to be taken first.
            entry.counter = decayed(entry, now_s, self.decay_minutes);
            entry.used_s = now_s;
        }
        true
    }

    /// Adds a row that is not here.
    pub(super) fn insert(&mut self, probe: &Probe, value: Option<&[u8]>, now_s: u32, source: Source) {
        // The use that is still to come raises it.
        let counter = if source == Source::Ahead { COUNTER_INIT - 1 } else { COUNTER_INIT };
        let mut entry = Entry { key: Key::new(probe), value: None, used_s: now_s, counter };
        overwrite(&mut entry.value, value);
        self.add(entry);
    }

    fn add(&mut self, entry: Entry) {
        // 2^32 entries of one shard would take 300 GB.
        let index = self.slab.len() as u32;
        self.bytes += charge_of(entry.key.bytes(), &entry.value);
        let (slab, hash) = (&self.slab, Hashed::hash(&entry.key));
        self.table.insert_unique(hash, index, |&other| Hashed::hash(&slab.at(other).key));
        self.slab.push(entry);
    }

    /// Forgets a row; false if it was not here.
    pub(super) fn remove(&mut self, probe: &Probe) -> bool {
        let Some(index) = self.index(probe) else {
            return false;
        };
        self.remove_at(index);
        true
    }

    /// Takes out the entry at `index`; the last one moves to its place.
    fn remove_at(&mut self, index: u32) {
        self.unlink(index);
        let last = (self.slab.len() - 1) as u32;
        let Some(mut gone) = self.slab.pop() else {
            return;
        };
        if index != last {
            let hash = Hashed::hash(&gone.key);
            std::mem::swap(&mut gone, self.slab.at_mut(index));
            if let Some(place) = self.table.find_mut(hash, |&at| at == last) {
                *place = index;
            }
        }
        self.bytes -= charge_of(gone.key.bytes(), &gone.value);
    }

    fn unlink(&mut self, index: u32) {
        let hash = Hashed::hash(&self.slab.at(index).key);
        if let Ok(found) = self.table.find_entry(hash, |&at| at == index) {
            found.remove();
        }
    }

    /// Drops the row least worth keeping among those sampled; false if there is none.
    pub(super) fn evict(&mut self, now_s: u32) -> bool {
        let len = self.slab.len() as u64;
        if len == 0 {
            return false;
        }
        for _ in 0..SAMPLES {
            let picked = self.rng.below(len) as u32;
            self.offer(picked, now_s);
        }
        while let Some(best) = (0..self.pool.len()).min_by_key(|&at| self.pool[at].rank) {
            let candidate = self.pool.swap_remove(best);
            let slab = &self.slab;
            let found =
                self.table.find(candidate.hash, |&at| Hashed::hash(&slab.at(at).key) == candidate.hash);
            // Gone since, or used since: no candidate any more.
            if let Some(&index) = found
                && rank(slab.at(index), now_s, self.decay_minutes) <= candidate.rank
            {
                self.remove_at(index);
                return true;
            }
        }
        let picked = self.rng.below(len) as u32;
        self.remove_at(picked);
        true
    }

    /// Puts the entry into the pool if there is room or it ranks below one that is in.
    fn offer(&mut self, index: u32, now_s: u32) {
        let entry = self.slab.at(index);
        let hash = Hashed::hash(&entry.key);
        let new = Candidate { hash, rank: rank(entry, now_s, self.decay_minutes) };
        if let Some(known) = self.pool.iter_mut().find(|known| known.hash == hash) {
            *known = new;
        } else if self.pool.len() < POOL_LEN_MAX {
            self.pool.push(new);
        } else if let Some(worst) = self.pool.iter_mut().max_by_key(|known| known.rank)
            && new.rank < worst.rank
        {
            *worst = new;
        }
    }

    fn index(&self, probe: &Probe) -> Option<u32> {
        self.table.find(probe.hash, |&at| self.slab.at(at).key.is(probe)).copied()
    }

    /// Takes every row out, the longest unused first.
    pub(super) fn drain(&mut self) -> Vec<Kept> {
        let mut rows = Vec::with_capacity(self.len());
        for entry in std::mem::take(&mut self.slab).chunks.into_iter().flatten() {
            let Entry { key, value, used_s, counter } = entry;
            rows.push(Kept { key, value, used_s, counter });
        }
        rows.sort_by_key(|row| row.used_s);
        self.table = HashTable::new();
        self.pool.clear();
        self.bytes = 0;
        rows
    }

    /// Takes a drained row in.
    pub(super) fn restore(&mut self, row: Kept) {
        let Kept { key, value, used_s, counter } = row;
        self.add(Entry { key, value, used_s, counter });
    }
}

/// What is left of an entry's counter now.
fn decayed(entry: &Entry, now_s: u32, decay_minutes: u32) -> u8 {
    if decay_minutes == 0 {
        return entry.counter;
    }
    let idle_minutes = now_s.saturating_sub(entry.used_s) / 60;
    let periods = u8::try_from(idle_minutes / decay_minutes).unwrap_or(u8::MAX);
    entry.counter.saturating_sub(periods)
}

/// The order of eviction: the lowest counter first, then the longest unused.
fn rank(entry: &Entry, now_s: u32, decay_minutes: u32) -> u64 {
    u64::from(decayed(entry, now_s, decay_minutes)) << 32 | u64::from(entry.used_s)
}

#[cfg(test)]
mod tests {
    use super::{CHUNK_LEN, ENTRY_BYTES, Entry, Lfu};
    use crate::hot::Lookup;
    use crate::hot::entry::Probe;

    fn lfu(log_factor: u32, decay_minutes: u32) -> Lfu {
        Lfu::new(log_factor, decay_minutes, 1)
    }

    fn key(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }

    fn probe(bytes: &[u8; 4]) -> Probe<'_> {
        Probe { hash: u64::from(u32::from_be_bytes(*bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15), bytes }
    }

    #[test]
    fn the_entry_is_the_size_the_charge_assumes() {
        assert_eq!(size_of::<Entry>() + 8, ENTRY_BYTES);
    }

    #[test]
    fn the_use_a_row_was_put_in_for_leaves_it_as_any_other_new_row() {
        let mut lfu = lfu(10, 1);
        lfu.insert(&probe(&key(1)), None, 0, Source::Fill);
        lfu.insert(&probe(&key(2)), None, 0, Source::Ahead);
        lfu.get(&probe(&key(2)), 0);
        assert_eq!(lfu.counter(&probe(&key(1)), 0), lfu.counter(&probe(&key(2)), 0));
    }

    #[test]
    fn the_counter_grows_with_the_logarithm_of_the_uses() {
        // The table in redis.conf, factor 10: 10 at 100 uses, 18 at 1000, 142 at 100 000.
        let mut lfu = lfu(10, 1);
        let k = key(1);
        lfu.insert(&probe(&k), None, 0, Source::Fill);
        let mut uses = 0;
        for (until, low, high) in [(100, 8, 12), (1000, 14, 24), (100_000, 125, 160)] {
            while uses < until {
                lfu.get(&probe(&k), 0);
                uses += 1;
            }
            let counter = lfu.counter(&probe(&k), 0).unwrap();
            assert!((low..=high).contains(&counter), "{counter} after {until} uses");
        }
    }

    #[test]
    fn removing_keeps_every_other_row_findable() {
        let mut lfu = lfu(0, 0);
        let count = 3 * CHUNK_LEN as u32 + 5;
        for number in 0..count {
            lfu.insert(&probe(&key(number)), Some(&key(number)), 0, Source::Fill);
        }
        for number in (0..count).step_by(3) {
            assert!(lfu.remove(&probe(&key(number))));
        }
        for number in 0..count {
            match lfu.peek(&probe(&key(number))) {
                Lookup::Hit(value) => assert!(*value == key(number) && number % 3 != 0),
                _ => assert_eq!(number % 3, 0),
            }
        }
        while lfu.evict(0) {}
        assert_eq!((lfu.bytes(), lfu.len(), lfu.table.len(), lfu.slab.chunks.len()), (0, 0, 0, 0));
    }

    #[test]
    fn seldom_used_rows_leave_first() {
        let mut lfu = lfu(0, 0);
        for number in 0..400 {
            lfu.insert(&probe(&key(number)), None, 0, Source::Fill);
            for _ in 0..number / 100 {
                lfu.get(&probe(&key(number)), 0);
            }
        }
        for _ in 0..150 {
            assert!(lfu.evict(0));
        }
        let kept = |from: u32| {
            (from..from + 100).filter(|&n| !matches!(lfu.peek(&probe(&key(n))), Lookup::Miss)).count()
        };
        assert!(kept(0) <= 12, "never used: {}", kept(0));
        assert!(kept(200) >= 97 && kept(300) == 100, "often used: {} {}", kept(200), kept(300));
    }

    #[test]
    fn a_candidate_that_was_used_since_is_spared() {
        let mut lfu = lfu(0, 0);
        for number in 0..200 {
            lfu.insert(&probe(&key(number)), None, 0, Source::Fill);
            lfu.set_counter(&probe(&key(number)), 20, 0);
        }
        lfu.set_counter(&probe(&key(0)), 5, 0);
        lfu.offer(0, 0);
        lfu.set_counter(&probe(&key(0)), 30, 0);
        assert!(lfu.evict(0));
        assert!(matches!(lfu.peek(&probe(&key(0))), Lookup::Absent));
    }
}
