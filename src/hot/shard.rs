//! One shard: its rows under the policy of the day, its byte budget and its counters.
//!
//! A row that comes makes its own room: it drops as many rows as its size asks for (each drop frees at least
//! `ENTRY_BYTES_MIN`, so the work is in proportion to the bytes copied), and up to `DEBT_EVICTIONS_MAX` more
//! while a smaller budget has left the shard in debt. So after every call the shard is within its budget, or
//! further down from a debt than before. A row too large to be kept is forgotten: an older value never stays.
//!
//! No lock here: the tier holds the shard's mutex around every call.

use crate::hot::entry::{Probe, SHORT_BYTES_MAX};
use crate::hot::lfu::{self, Lfu};
use crate::hot::lru::{self, Lru};
use crate::hot::{Lookup, Policy, Source, Stats};

use super::Kept;

/// Evictions one insert makes for others' sake, and one shard makes in a step of shrinking.
const DEBT_EVICTIONS_MAX: usize = 16;
/// No single row larger than this is kept, however large the budget: it would drop thousands of others.
const ROW_BYTES_MAX: usize = 1 << 20;
/// No entry is charged less.
const ENTRY_BYTES_MIN: usize = lfu::ENTRY_BYTES;
const _: () = assert!(lfu::ENTRY_BYTES <= lru::ENTRY_BYTES && SHORT_BYTES_MAX < u8::MAX as usize);

enum Rows {
    Lru(Lru),
    Lfu(Lfu),
}

/// See the head of the file.
pub(super) struct Shard {
    rows: Rows,
    share_bytes: usize,
    /// Seeds the policies' random picks.
    seed: u64,
    stats: Stats,
    /// The tier's shard mask this shard was filled under.
    pub(super) mask: usize,
}

impl Rows {
    fn new(policy: Policy, share_bytes: usize, seed: u64) -> Rows {
        match policy {
            Policy::Lru => Rows::Lru(Lru::new(share_bytes)),
            Policy::Lfu { log_factor, decay_minutes } => Rows::Lfu(Lfu::new(log_factor, decay_minutes, seed)),
        }
    }
}

impl Shard {
    pub(super) fn new(policy: Policy, share_bytes: usize, seed: u64, mask: usize) -> Shard {
        let rows = Rows::new(policy, share_bytes, seed);
        Shard { rows, share_bytes, seed, stats: Stats::default(), mask }
    }

    /// Finds a row, counts the use and the hit or miss.
    pub(super) fn get(&mut self, probe: &Probe, now_s: u32) -> Lookup {
        let found = self.touch(probe, now_s);
        match found {
            Lookup::Hit(_) => self.stats.hits += 1,
            Lookup::Absent => self.stats.absent_hits += 1,
            Lookup::Miss => self.stats.misses += 1,
        }
        found
    }

    /// Finds a row and counts the use alone.
    pub(super) fn touch(&mut self, probe: &Probe, now_s: u32) -> Lookup {
        match &mut self.rows {
            Rows::Lru(rows) => rows.get(probe, now_s),
            Rows::Lfu(rows) => rows.get(probe, now_s),
        }
    }

    /// Finds a row and counts nothing.
    pub(super) fn peek(&self, probe: &Probe) -> Lookup {
        match &self.rows {
            Rows::Lru(rows) => rows.peek(probe),
            Rows::Lfu(rows) => rows.peek(probe),
        }
    }

    /// Keeps a value (`None`: known absent), or forgets the row if it is too large.
    pub(super) fn put(&mut self, probe: &Probe, value: Option<&[u8]>, now_s: u32, source: Source) {
        let value_len = value.map(<[u8]>::len);
        let charge = match self.rows {
            Rows::Lru(_) => lru::charge(probe.bytes.len(), value_len),
            Rows::Lfu(_) => lfu::charge(probe.bytes.len(), value_len),
        };
        if charge > self.share_bytes.min(ROW_BYTES_MAX) {
            self.stats.rejected += 1;
            self.remove(probe);
            return;
        }
        let bytes_before = self.bytes();
        if self.replace(probe, value, now_s, source) {
            let grown = self.bytes().saturating_sub(bytes_before);
            self.make_room(0, grown, now_s);
            return;
        }
        self.make_room(charge, charge, now_s);
        match &mut self.rows {
            Rows::Lru(rows) => rows.insert(probe, value, now_s, source),
            Rows::Lfu(rows) => rows.insert(probe, value, now_s, source),
        }
        self.stats.insertions += 1;
    }

    fn replace(&mut self, probe: &Probe, value: Option<&[u8]>, now_s: u32, source: Source) -> bool {
        match &mut self.rows {
            Rows::Lru(rows) => rows.replace(probe, value, now_s, source),
            Rows::Lfu(rows) => rows.replace(probe, value, now_s, source),
        }
    }

    /// Evicts until `wanted_bytes` more fit, within the work that `own_bytes` of new data may cause. Where that
    /// does not suffice, it has freed more than `own_bytes` all the same.
    fn make_room(&mut self, wanted_bytes: usize, own_bytes: usize, now_s: u32) {
        let evictions_max = DEBT_EVICTIONS_MAX + own_bytes / ENTRY_BYTES_MIN;
        self.evict_until(wanted_bytes, evictions_max, now_s);
    }

    fn evict_until(&mut self, wanted_bytes: usize, evictions_max: usize, now_s: u32) -> bool {
        for _ in 0..evictions_max {
            if self.bytes() + wanted_bytes <= self.share_bytes {
                return true;
            }
            let evicted = match &mut self.rows {
                Rows::Lru(rows) => rows.evict(),
                Rows::Lfu(rows) => rows.evict(now_s),
            };
            if !evicted {
                break;
            }
            self.stats.evictions += 1;
        }
        self.bytes() + wanted_bytes <= self.share_bytes
    }

    /// Pays off some of the debt a smaller budget left; true while there is more.
    pub(super) fn shrink_step(&mut self, now_s: u32) -> bool {
        !self.evict_until(0, DEBT_EVICTIONS_MAX, now_s)
    }

    /// Forgets a row.
    pub(super) fn remove(&mut self, probe: &Probe) {
        match &mut self.rows {
            Rows::Lru(rows) => rows.remove(probe),
            Rows::Lfu(rows) => rows.remove(probe),
        };
    }

    /// An empty shard of the same policy, budget and counters takes this one's place; the caller drops
    /// the old one where no lock is held.
    pub(super) fn take(&mut self, policy: Policy) -> Shard {
        let mut empty = Shard::new(policy, self.share_bytes, self.seed, self.mask);
        empty.stats = self.stats;
        std::mem::replace(self, empty)
    }

    pub(super) fn set_share(&mut self, share_bytes: usize) {
        self.share_bytes = share_bytes;
        if let Rows::Lru(rows) = &mut self.rows {
            rows.set_share(share_bytes);
        }
    }

    /// Goes over to another policy with all its rows, as far as they fit (the policies' entries differ in
    /// size). In proportion to the rows: for an operator's command, not for the path of a request.
    pub(super) fn set_policy(&mut self, policy: Policy, now_s: u32) {
        match (&mut self.rows, policy) {
            (Rows::Lru(_), Policy::Lru) => {}
            (Rows::Lfu(rows), Policy::Lfu { log_factor, decay_minutes }) => {
                rows.set_parameters(log_factor, decay_minutes);
            }
            _ => {
                let rows = self.drain();
                self.rows = Rows::new(policy, self.share_bytes, self.seed);
                for row in rows {
                    self.restore(row);
                }
                self.evict_until(0, usize::MAX, now_s);
            }
        }
    }

    /// Takes every row out, the one least worth keeping first.
    pub(super) fn drain(&mut self) -> Vec<Kept> {
        match &mut self.rows {
            Rows::Lru(rows) => rows.drain(),
            Rows::Lfu(rows) => rows.drain(),
        }
    }

    /// Takes a drained row in, room or not.
    pub(super) fn restore(&mut self, row: Kept) {
        match &mut self.rows {
            Rows::Lru(rows) => rows.restore(row),
            Rows::Lfu(rows) => rows.restore(row),
        }
    }

    /// The second of a row's last use and whether it is known absent.
    pub(super) fn used(&self, probe: &Probe) -> Option<(u32, bool)> {
        match &self.rows {
            Rows::Lru(rows) => rows.used(probe),
            Rows::Lfu(rows) => rows.used(probe),
        }
    }

    /// The use counter of a row, if the policy keeps one.
    pub(super) fn counter(&self, probe: &Probe, now_s: u32) -> Option<u8> {
        match &self.rows {
            Rows::Lru(_) => None,
            Rows::Lfu(rows) => rows.counter(probe, now_s),
        }
    }

    pub(super) fn set_used(&mut self, probe: &Probe, used_s: u32) {
        match &mut self.rows {
            Rows::Lru(rows) => rows.set_used(probe, used_s),
            Rows::Lfu(rows) => rows.set_used(probe, used_s),
        }
    }

    pub(super) fn set_counter(&mut self, probe: &Probe, counter: u8, now_s: u32) {
        if let Rows::Lfu(rows) = &mut self.rows {
            rows.set_counter(probe, counter, now_s);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.rows {
            Rows::Lru(rows) => rows.bytes(),
            Rows::Lfu(rows) => rows.bytes(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.rows {
            Rows::Lru(rows) => rows.len(),
            Rows::Lfu(rows) => rows.len(),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        self.stats
    }
}
