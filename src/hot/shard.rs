//! One shard: its rows under the policy of the day, its byte budget and its counters.
//!
//! A row that comes makes its own room: it drops as many rows as its size asks for (each drop frees at least
//! the charge of an empty one, so the work is in proportion to the bytes copied), and up to `DEBT_EVICTIONS_MAX` more
//! while a smaller budget has left the shard in debt. So after every call the shard is within its budget, or
//! further down from a debt than before. A row too large to be kept is forgotten: an older value never stays.
//!
//! No lock here: the tier holds the shard's mutex around every call.

use super::Kept;
use super::entry::{Probe, charge};
use super::lfu::Lfu;
use super::lru::Lru;
use super::table::Table;
use super::{Lookup, Policy, Source, Stats};

/// Evictions one insert makes for others' sake, and one shard makes in a step of shrinking.
const DEBT_EVICTIONS_MAX: usize = 16;
/// No single row larger than this is kept, however large the budget: it would drop thousands of others.
const ROW_BYTES_MAX: usize = 1 << 20;

enum Order {
    Lru(Lru),
    Lfu(Lfu),
}

impl Order {
    fn new(policy: Policy, share_bytes: usize, seed: u64) -> Order {
        match policy {
            Policy::Lru => Order::Lru(Lru::new(share_bytes)),
            Policy::Lfu { log_factor, decay_minutes } => {
                Order::Lfu(Lfu::new(log_factor, decay_minutes, seed))
            }
        }
    }
}

/// See the head of the file.
pub(super) struct Shard {
    table: Table,
    order: Order,
    share_bytes: usize,
    /// Seeds the policies' random picks.
    seed: u64,
    stats: Stats,
    /// The tier's shard mask this shard was filled under.
    pub(super) mask: usize,
}

impl Shard {
    pub(super) fn new(policy: Policy, share_bytes: usize, seed: u64, mask: usize) -> Shard {
        let order = Order::new(policy, share_bytes, seed);
        Shard { table: Table::default(), order, share_bytes, seed, stats: Stats::default(), mask }
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
        let Some(at) = self.table.find(probe) else { return Lookup::Miss };
        let slot = self.table.slot_mut(at);
        match &mut self.order {
            Order::Lru(_) => Lru::read(slot, now_s),
            Order::Lfu(order) => order.read(slot, now_s),
        }
        Lookup::of(slot.entry())
    }

    /// Finds a row and counts nothing.
    pub(super) fn peek(&self, probe: &Probe) -> Lookup {
        Lookup::of(self.table.find(probe).and_then(|at| self.table.slot(at).entry()))
    }

    /// Asks for the memory of a key's slot.
    pub(super) fn foresee(&self, probe: &Probe) {
        self.table.prefetch_slot(probe);
    }

    /// Asks for the memory of the row that has the key's hash.
    pub(super) fn fetch(&self, probe: &Probe) {
        self.table.prefetch_row(probe);
    }

    /// Keeps a value (`None`: known absent), or forgets the row if it is too large.
    pub(super) fn put(&mut self, probe: &Probe, value: Option<&[u8]>, now_s: u32, source: Source) {
        let charge = charge(probe.name, value.map(<[u8]>::len));
        if charge > self.share_bytes.min(ROW_BYTES_MAX) {
            self.stats.rejected += 1;
            self.remove(probe);
            return;
        }
        if let Some(at) = self.table.find(probe) {
            let grown = self.replace(at, value, now_s, source);
            self.make_room(0, grown, now_s);
            return;
        }
        self.make_room(charge, charge, now_s);
        let state = match (&self.order, source) {
            (Order::Lru(_), Source::Ahead) => Lru::AHEAD,
            (Order::Lru(_), _) => Lru::NEW,
            (Order::Lfu(_), Source::Ahead) => Lfu::AHEAD,
            (Order::Lfu(_), _) => Lfu::NEW,
        };
        self.table.insert(probe, value, now_s, state);
        self.stats.insertions += 1;
    }

    /// The bytes it has grown by.
    fn replace(&mut self, at: usize, value: Option<&[u8]>, now_s: u32, source: Source) -> usize {
        let bytes_before = self.table.bytes() as isize;
        let grown = self.table.replace(at, value);
        let change = self.table.bytes() as isize - bytes_before;
        let slot = self.table.slot_mut(at);
        match &mut self.order {
            Order::Lru(order) => order.replaced(slot, change, now_s, source),
            Order::Lfu(order) => order.replaced(slot, now_s, source),
        }
        grown
    }

    /// Evicts until `wanted_bytes` more fit, within the work that `own_bytes` of new data may cause. Where that
    /// does not suffice, it has freed more than `own_bytes` all the same.
    fn make_room(&mut self, wanted_bytes: usize, own_bytes: usize, now_s: u32) {
        let evictions_max = DEBT_EVICTIONS_MAX + own_bytes / charge(b"".into(), None);
        self.evict_until(wanted_bytes, evictions_max, now_s);
    }

    fn evict_until(&mut self, wanted_bytes: usize, evictions_max: usize, now_s: u32) -> bool {
        for _ in 0..evictions_max {
            if self.table.bytes() + wanted_bytes <= self.share_bytes && !self.table.is_full() {
                return true;
            }
            let evicted = match &mut self.order {
                Order::Lru(order) => order.evict(&mut self.table),
                Order::Lfu(order) => order.evict(&mut self.table, now_s),
            };
            if !evicted {
                break;
            }
            self.stats.evictions += 1;
        }
        self.table.bytes() + wanted_bytes <= self.share_bytes
    }

    /// Pays off some of the debt a smaller budget left; true while there is more.
    pub(super) fn shrink_step(&mut self, now_s: u32) -> bool {
        !self.evict_until(0, DEBT_EVICTIONS_MAX, now_s)
    }

    /// Forgets a row.
    pub(super) fn remove(&mut self, probe: &Probe) {
        let gone = self.table.find(probe).and_then(|at| self.table.remove(at));
        if let (Some(gone), Order::Lru(order)) = (gone, &mut self.order) {
            order.removed(gone.state, gone.entry.charge());
        }
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
        if let Order::Lru(order) = &mut self.order {
            order.set_share(share_bytes);
        }
    }

    /// Goes over to another policy with all its rows. In proportion to the rows: for an operator's command, not for the path
    /// of a request.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        match (&mut self.order, policy) {
            (Order::Lru(_), Policy::Lru) => {}
            (Order::Lfu(order), Policy::Lfu { log_factor, decay_minutes }) => {
                order.set_parameters(log_factor, decay_minutes);
            }
            (Order::Lru(_), Policy::Lfu { .. }) => {
                Lru::hand_over(&mut self.table);
                self.order = Order::new(policy, self.share_bytes, self.seed);
            }
            (Order::Lfu(_), Policy::Lru) => {
                let mut order = Lru::new(self.share_bytes);
                order.take_over(&mut self.table);
                self.order = Order::Lru(order);
            }
        }
    }

    /// Takes every row out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Kept> + use<> {
        if let Order::Lru(order) = &mut self.order {
            *order = Lru::new(self.share_bytes);
        }
        self.table.drain()
    }

    /// Takes a drained row in, room or not.
    pub(super) fn restore(&mut self, hash: u64, row: Kept) {
        if let Order::Lru(order) = &mut self.order {
            order.restored(row.state, row.entry.charge());
        }
        self.table.restore(hash, row);
    }

    /// The second of a row's last use and whether it is known absent.
    pub(super) fn used(&self, probe: &Probe) -> Option<(u32, bool)> {
        let slot = self.table.slot(self.table.find(probe)?);
        Some((slot.used_s, slot.entry()?.is_absent()))
    }

    /// The use counter of a row, if the policy keeps one.
    pub(super) fn counter(&self, probe: &Probe, now_s: u32) -> Option<u8> {
        match &self.order {
            Order::Lru(_) => None,
            Order::Lfu(order) => Some(order.decayed(self.table.slot(self.table.find(probe)?), now_s)),
        }
    }

    pub(super) fn set_used(&mut self, probe: &Probe, used_s: u32) {
        if let Some(at) = self.table.find(probe) {
            self.table.slot_mut(at).used_s = used_s;
        }
    }

    pub(super) fn set_counter(&mut self, probe: &Probe, counter: u8, now_s: u32) {
        if let (Order::Lfu(_), Some(at)) = (&self.order, self.table.find(probe)) {
            let slot = self.table.slot_mut(at);
            slot.set_state(counter);
            slot.used_s = now_s;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.table.bytes()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn stats(&self) -> Stats {
        self.stats
    }
}
