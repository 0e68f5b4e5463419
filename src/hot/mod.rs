//! The hot tier: recently or often used rows in memory, within a byte budget.
//!
//! A sharded map from a row's name (a kind and key bytes) to its value bytes, or to "known absent". It knows neither what
//! the rows mean nor where they come from: commits and validated fills put them in, and leaving the tier
//! deletes nothing. A key is hashed once; the hash picks the shard and the place within it.
//!
//! Files, in reading order: `entry` (a row and its charge), `table` (rows by key), `lru` and `lfu` (which row leaves first),
//! `shard` (budget and counters), this one (shards, locks, live settings); `ranks`, `stretches` and `marks`
//! (helpers that live here beside the rows, on the same budget; `named` is the list of the first and the last).
//!
//! Lock rule: one mutex per shard, held for one probe and never while another is taken; only `set_budget`,
//! when it brings more shards into use, holds all of them, in index order. `settings` comes before any
//! shard; the mutexes of `ranks`, `stretches` and `marks` come after `settings` and are never held with a shard's. Callers may hold
//! what they like: nothing here waits for anything but these mutexes.

mod entry;
mod lfu;
mod lru;
pub mod marks;
mod named;
pub mod ranks;
mod shard;
pub mod stretches;
mod table;
#[cfg(test)]
mod tests;

use crate::base::clock::Clock;
use crate::base::random::fill_entropy;
use ahash::RandomState;
use parking_lot::{Mutex, MutexGuard};
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

use entry::{Entry, Probe};
pub use entry::{RowName, RowValue};
use marks::{MarkIndex, Marks};
use ranks::{Name, Ranks, SharedIndex};
use shard::Shard;
use stretches::{Block, Stretches};

/// The number of shards, a power of two.
const SHARDS: usize = 4096;
/// Up to so many are in use as long as each gets `SHARE_BYTES_MIN` of the budget; one always is.
const FEW_SHARDS: usize = 64;
const SHARE_BYTES_MIN: usize = 128 << 10;
/// More than those only if each gets this much: a shard's table, which grows in one go, stays within some megabytes, and large rows have room.
const LARGE_SHARE_BYTES: usize = 4 << 20;

/// Sets rows of different kinds apart whose keys are the same: any odd number with bits everywhere.
const KIND_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The rows' share follows what the helpers take in steps of one part in this many of the budget.
const HELPER_STEPS: usize = 256;

/// Which row leaves first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The longest unused, rows used only once before all others.
    Lru,
    /// The least often used, as Redis counts it.
    Lfu {
        /// The larger, the more uses it takes to raise a counter (`lfu-log-factor`).
        log_factor: u32,
        /// Minutes without use that cost a counter one point; 0 = it never falls (`lfu-decay-time`).
        decay_minutes: u32,
    },
}

/// Where a value that is put comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A commit: counts as the row's latest use.
    Write,
    /// A read that missed: never renews a row that is here.
    Fill,
    /// The same, put in for a read that will be repeated at once and find it: the first hit does not count as a use.
    Ahead,
}

/// What the tier knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The row's value.
    Hit(RowValue),
    /// There is no such row.
    Absent,
    /// Nothing; ask the store.
    Miss,
}

impl Lookup {
    fn of(entry: Option<&Entry>) -> Lookup {
        match entry {
            None => Lookup::Miss,
            Some(entry) if entry.is_absent() => Lookup::Absent,
            Some(entry) => Lookup::Hit(RowValue::of(entry)),
        }
    }
}

/// A key whose slot is on its way from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreseen {
    hash: u64,
}

/// Counts since the tier was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Gets that found a value.
    pub hits: u64,
    /// Gets that found nothing.
    pub misses: u64,
    /// Gets that found "known absent".
    pub absent_hits: u64,
    /// Rows newly taken in (replaced values are not counted).
    pub insertions: u64,
    /// Rows dropped to make room.
    pub evictions: u64,
    /// Rows not kept because they are too large.
    pub rejected: u64,
}

/// A row that was taken out of a table, with what the policy knew of it.
struct Kept {
    entry: Entry,
    used_s: u32,
    state: u8,
}

/// Keeps neighbouring shards off each other's cache lines (and the prefetcher's pairs of them).
#[repr(align(128))]
struct Padded(Mutex<Shard>);

struct Settings {
    budget_bytes: usize,
    policy: Policy,
}

/// See the head of the file. Shared by reference between threads.
pub struct HotTier {
    shards: Box<[Padded]>,
    /// Shards in use, less one.
    mask: AtomicUsize,
    hasher: RandomState,
    clock: Clock,
    ranks: Ranks,
    stretches: Stretches,
    marks: Marks,
    /// What is kept back from the rows for the helpers.
    helper_bytes: AtomicUsize,
    /// In steps of so many bytes; 0 before it was first worked out.
    helper_step: AtomicUsize,
    settings: Mutex<Settings>,
}

impl HotTier {
    /// An empty tier that keeps at most `budget_bytes`, by the charge of its entries.
    pub fn new(budget_bytes: usize, policy: Policy, clock: Clock) -> HotTier {
        let mut entropy = [0; 32];
        fill_entropy(&mut entropy);
        let mut seeds = [0; 4];
        for (seed, bytes) in seeds.iter_mut().zip(entropy.as_chunks().0) {
            *seed = u64::from_le_bytes(*bytes);
        }
        HotTier::seeded(budget_bytes, policy, clock, seeds)
    }

    fn seeded(budget_bytes: usize, policy: Policy, clock: Clock, seeds: [u64; 4]) -> HotTier {
        let used = shards_for(budget_bytes);
        let shard = |index: usize| {
            let seed = seeds[0].wrapping_add(index as u64);
            Padded(Mutex::new(Shard::new(policy, budget_bytes / used, seed, used - 1)))
        };
        HotTier {
            shards: (0..SHARDS).map(shard).collect(),
            mask: AtomicUsize::new(used - 1),
            hasher: RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]),
            clock,
            ranks: Ranks::new(budget_bytes),
            stretches: Stretches::new(budget_bytes),
            marks: Marks::new(budget_bytes),
            helper_bytes: AtomicUsize::new(0),
            helper_step: AtomicUsize::new(0),
            settings: Mutex::new(Settings { budget_bytes, policy }),
        }
    }

    /// Looks a key up and counts the use, and the hit or miss.
    pub fn get<'a>(&self, name: impl Into<RowName<'a>>) -> Lookup {
        self.get_at(name, self.clock.now_ms())
    }

    /// [`HotTier::get`] for a caller that has read the clock already, say once for its whole command:
    /// reading it takes nearly as long as the rest of a hit. `now_ms` is unix time in milliseconds.
    pub fn get_at<'a>(&self, name: impl Into<RowName<'a>>, now_ms: u64) -> Lookup {
        let probe = self.probe(name);
        self.shard(&probe).get(&probe, whole_seconds(now_ms))
    }

    /// Asks for the memory in which a key's slot lies.
    pub fn foresee<'a>(&self, name: impl Into<RowName<'a>>) -> Foreseen {
        let probe = self.probe(name);
        self.shard(&probe).foresee(&probe);
        Foreseen { hash: probe.hash }
    }

    /// Asks for the memory of a key's row, after [`HotTier::foresee`].
    pub fn fetch(&self, foreseen: Foreseen) {
        let probe = Probe { hash: foreseen.hash, name: RowName { kind: 0, row: b"" } };
        self.shard(&probe).fetch(&probe);
    }

    /// Looks a key up and leaves no trace, neither in the policy nor in the counts.
    pub fn get_quiet<'a>(&self, name: impl Into<RowName<'a>>) -> Lookup {
        let probe = self.probe(name);
        self.shard(&probe).peek(&probe)
    }

    /// Keeps a row's value, new or in place of what is known. A row too large to be kept (more than a
    /// shard's share of the budget, or 1 MiB) is forgotten instead.
    pub fn put<'a>(&self, name: impl Into<RowName<'a>>, value: &[u8], source: Source) {
        self.put_at(name, Some(value), source, self.clock.now_ms());
    }

    /// Keeps the knowledge that a row does not exist.
    pub fn put_absent<'a>(&self, name: impl Into<RowName<'a>>, source: Source) {
        self.put_at(name, None, source, self.clock.now_ms());
    }

    /// The one or the other, for a caller that has read the clock already: unix time in milliseconds.
    pub fn put_at<'a>(
        &self,
        name: impl Into<RowName<'a>>,
        value: Option<&[u8]>,
        source: Source,
        now_ms: u64,
    ) {
        let probe = self.probe(name);
        self.shard(&probe).put(&probe, value, whole_seconds(now_ms), source);
    }

    /// Forgets all about a key.
    pub fn remove<'a>(&self, name: impl Into<RowName<'a>>) {
        let probe = self.probe(name);
        self.shard(&probe).remove(&probe);
    }

    /// Forgets everything; the counts stay. Frees in the calling thread, a shard at a time and outside
    /// its lock: not for a worker when the tier is large.
    pub fn clear(&self) {
        let settings = self.settings.lock();
        for shard in self.in_use() {
            let old = shard.0.lock().take(settings.policy);
            drop(old);
        }
        self.ranks.clear();
        self.stretches.clear();
        self.marks.clear();
        self.share_out(&settings);
    }

    /// Changes the budget. A smaller one leaves a debt, which later puts and [`HotTier::shrink_step`] pay
    /// off bit by bit. The shards in use can become more, up to `FEW_SHARDS`, never fewer, in one go; that go is short,
    /// for it only happens while the budget was below 8 MiB. A larger tier has as many as it began with.
    pub fn set_budget(&self, bytes: usize) {
        let mut settings = self.settings.lock();
        settings.budget_bytes = bytes;
        self.ranks.set_budget(bytes);
        self.stretches.set_budget(bytes);
        self.marks.set_budget(bytes);
        let used = self.mask.load(Ordering::Relaxed) + 1;
        if few_shards_for(bytes) > used {
            self.spread(few_shards_for(bytes), bytes);
        }
        self.share_out(&settings);
    }

    /// Gives each shard its share of what the helpers leave of the budget.
    fn share_out(&self, settings: &Settings) {
        let step = (settings.budget_bytes / HELPER_STEPS).max(1);
        let helper_bytes = self.helpers_take().next_multiple_of(step);
        self.helper_bytes.store(helper_bytes, Ordering::Relaxed);
        self.helper_step.store(step, Ordering::Relaxed);
        let used = self.mask.load(Ordering::Relaxed) + 1;
        for shard in self.in_use() {
            shard.0.lock().set_share(settings.budget_bytes.saturating_sub(helper_bytes) / used);
        }
    }

    /// The rank indexes that live here.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Says how large an index has become. False if it could not be kept.
    pub fn charge_rank_index(&self, name: &[u8], index: &SharedIndex) -> bool {
        let index_bytes = index.lock().bytes();
        let kept = self.ranks.charge(name, index, index_bytes);
        self.follow_helpers();
        kept
    }

    /// The stretches that live here.
    pub fn stretches(&self) -> &Stretches {
        &self.stretches
    }

    /// Keeps rows read from a gap in what is known of a collection. Nobody changes them meanwhile.
    pub fn fill_stretch(&self, name: &Name, blocks: impl IntoIterator<Item = Block>) {
        self.stretches.fill(name, blocks);
        self.follow_helpers();
    }

    /// A row of a collection was set or removed. False if nothing is kept of the collection.
    pub fn change_stretch(&self, name: &Name, key: &[u8], value: Option<&[u8]>) -> bool {
        let kept = self.stretches.change(name, key, value);
        self.follow_helpers();
        kept
    }

    /// The marks of long lists.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Keeps the marks of a list; nothing has changed since they were read.
    pub fn keep_marks(&self, name: &Name, index: MarkIndex) {
        self.marks.keep(name, index);
        self.follow_helpers();
    }

    /// A row of a list was set to a value or removed. False if no marks are kept of the list.
    pub fn change_marks(&self, name: &Name, position: i64, value: Option<&[u8]>) -> bool {
        let kept = self.marks.change(name, position, value);
        self.follow_helpers();
        kept
    }

    fn helpers_take(&self) -> usize {
        self.ranks.bytes() + self.stretches.bytes() + self.marks.bytes()
    }

    /// Gives the rows less or more room when what the helpers take has changed much: the step is small beside the budget, and the
    /// shares need not follow every byte. It takes every shard's lock, so a first step once kept back stays.
    fn follow_helpers(&self) {
        let (shared_out, bytes) = (self.helper_bytes.load(Ordering::Relaxed), self.helpers_take());
        let step = self.helper_step.load(Ordering::Relaxed);
        if bytes > shared_out || (shared_out > step && bytes * 2 < shared_out) {
            self.share_out(&self.settings.lock());
        }
    }

    /// Changes the policy and keeps the rows. In proportion to their number, a shard at a time.
    pub fn set_policy(&self, policy: Policy) {
        let mut settings = self.settings.lock();
        settings.policy = policy;
        for shard in &self.shards {
            shard.0.lock().set_policy(policy);
        }
    }

    /// Evicts a few rows from every shard that is over its share; true while there is more to do. For a
    /// background task, after `set_budget`.
    pub fn shrink_step(&self) -> bool {
        let now_s = self.now_s();
        let mut in_debt = false;
        for shard in self.in_use() {
            in_debt |= shard.0.lock().shrink_step(now_s);
        }
        in_debt
    }

    /// Seconds since the last use of a row that is here (and not known absent), under either policy.
    pub fn idle_seconds<'a>(&self, name: impl Into<RowName<'a>>) -> Option<u64> {
        let (now_s, probe) = (self.now_s(), self.probe(name));
        match self.shard(&probe).used(&probe) {
            Some((used_s, false)) => Some(u64::from(now_s.saturating_sub(used_s))),
            _ => None,
        }
    }

    /// The use counter, decayed up to now, of a row that is here (and not known absent); `None` under LRU.
    pub fn frequency<'a>(&self, name: impl Into<RowName<'a>>) -> Option<u8> {
        let (now_s, probe) = (self.now_s(), self.probe(name));
        let shard = self.shard(&probe);
        match shard.used(&probe) {
            Some((_, false)) => shard.counter(&probe, now_s),
            _ => None,
        }
    }

    /// Counts a use of a row, if it is here.
    pub fn touch<'a>(&self, name: impl Into<RowName<'a>>) {
        let (now_s, probe) = (self.now_s(), self.probe(name));
        self.shard(&probe).touch(&probe, now_s);
    }

    /// Sets the idle time of a row, if it is here (`RESTORE ... IDLETIME`). Its place in the order stays.
    pub fn set_idle_seconds<'a>(&self, name: impl Into<RowName<'a>>, idle_seconds: u64) {
        let (now_s, probe) = (self.now_s(), self.probe(name));
        let idle_s = u32::try_from(idle_seconds).unwrap_or(u32::MAX);
        self.shard(&probe).set_used(&probe, now_s.saturating_sub(idle_s));
    }

    /// Sets the use counter of a row, if it is here and the policy is LFU (`RESTORE ... FREQ`).
    pub fn set_frequency<'a>(&self, name: impl Into<RowName<'a>>, frequency: u8) {
        let (now_s, probe) = (self.now_s(), self.probe(name));
        self.shard(&probe).set_counter(&probe, frequency, now_s);
    }

    /// The charge of all entries and helpers.
    pub fn bytes(&self) -> usize {
        self.in_use().iter().map(|shard| shard.0.lock().bytes()).sum::<usize>() + self.helpers_take()
    }

    /// The number of entries, the known absent included.
    pub fn entries(&self) -> usize {
        self.in_use().iter().map(|shard| shard.0.lock().len()).sum()
    }

    /// The budget in force.
    pub fn budget_bytes(&self) -> usize {
        self.settings.lock().budget_bytes
    }

    /// The policy in force.
    pub fn policy(&self) -> Policy {
        self.settings.lock().policy
    }

    /// The counts of all shards.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for shard in self.in_use() {
            let part = shard.0.lock().stats();
            sum.hits += part.hits;
            sum.misses += part.misses;
            sum.absent_hits += part.absent_hits;
            sum.insertions += part.insertions;
            sum.evictions += part.evictions;
            sum.rejected += part.rejected;
        }
        sum
    }

    /// The shards that can have rows.
    fn in_use(&self) -> &[Padded] {
        &self.shards[..=self.mask.load(Ordering::Acquire)]
    }

    fn probe<'a>(&self, name: impl Into<RowName<'a>>) -> Probe<'a> {
        let name = name.into();
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name.row);
        Probe { hash: hasher.finish().wrapping_add(u64::from(name.kind).wrapping_mul(KIND_STEP)), name }
    }

    /// Locks the shard of a key. The table takes the lowest 24 bits of a hash, the shard others.
    fn shard(&self, probe: &Probe) -> MutexGuard<'_, Shard> {
        loop {
            let mask = self.mask.load(Ordering::Acquire);
            let shard = self.shards[place(probe.hash, mask)].0.lock();
            // Another mask: the rows were spread over more shards meanwhile, and this key's may be elsewhere.
            if shard.mask == mask {
                return shard;
            }
        }
    }

    /// Brings more shards into use: every row moves to the shard where it is now looked for.
    fn spread(&self, used: usize, budget_bytes: usize) {
        let mut shards: Vec<MutexGuard<Shard>> = self.shards.iter().map(|shard| shard.0.lock()).collect();
        let rows: Vec<Kept> = shards.iter_mut().flat_map(|shard| shard.drain()).collect();
        for shard in &mut shards {
            shard.mask = used - 1;
            shard.set_share(budget_bytes / used);
        }
        for row in rows {
            let hash = self.probe(row.entry.name()).hash;
            shards[place(hash, used - 1)].restore(hash, row);
        }
        self.mask.store(used - 1, Ordering::Release);
    }

    fn now_s(&self) -> u32 {
        whole_seconds(self.clock.now_ms())
    }
}

/// The 4-byte clock of the entries: unix seconds, good until 2106.
fn whole_seconds(now_ms: u64) -> u32 {
    u32::try_from(now_ms / 1000).unwrap_or(u32::MAX)
}

fn place(hash: u64, mask: usize) -> usize {
    (hash >> 40) as usize & mask
}

/// The shards that a new tier brings into use.
fn shards_for(budget_bytes: usize) -> usize {
    let many = (budget_bytes / LARGE_SHARE_BYTES).clamp(1, SHARDS);
    few_shards_for(budget_bytes).max(1 << many.ilog2())
}

fn few_shards_for(budget_bytes: usize) -> usize {
    let few = (budget_bytes / SHARE_BYTES_MIN).clamp(1, FEW_SHARDS);
    1 << few.ilog2()
}
