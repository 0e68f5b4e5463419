//! How often the hot tier has what is asked for, beside the crates moka and quick_cache, which hold rows of the same bytes.
//!
//! Each trace is a sequence of keys: a read that misses puts the row in. All rows have one size, so that room is a number of rows. Two
//! tables: with the same bytes, what each cache needs for a row asked of the allocator; and with the same rows, as many as
//! the tier holds in its budget, which compares the policies alone. The first quarter of a trace does not count.
//!
//! Run with `tools/cargo bench --bench hit_ratio`. It prints percent of reads that hit.

use std::sync::Arc;
use tikv_jemalloc_ctl::{epoch, stats};
use tuffdb::base::clock::Clock;
use tuffdb::base::random::Rng;
use tuffdb::hot::{HotTier, Lookup, Policy, Source};
use tuffdb::load::keys::{Counters, Pattern, Picker};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const KEYS: u64 = 1_000_000;
const READS: u64 = 8_000_000;
/// Room for about a twentieth of the keys.
const BUDGET_BYTES: usize = 12 << 20;
const VALUE: [u8; 100] = [b'v'; 100];
/// Reads from one scan to the next, and the keys of each.
const SCAN_EVERY: u64 = 1_000_000;
const SCAN_KEYS: u64 = 200_000;
/// Reads until the popular keys are others.
const SHIFT_EVERY: u64 = 1_000_000;
/// Reads in a minute of the tier's clock, by which counters decay.
const READS_PER_MINUTE: u64 = 1_000_000;

/// Something that remembers rows.
trait Subject {
    /// Reads a key, puts it in if it is not there; true for a hit.
    fn read(&mut self, key: u64) -> bool;
}

struct Tier {
    tier: HotTier,
    clock: Clock,
    reads: u64,
}

impl Tier {
    fn new(policy: Policy) -> Tier {
        let clock = Clock::manual(1_700_000_000_000);
        Tier { tier: HotTier::new(BUDGET_BYTES, policy, clock.clone()), clock, reads: 0 }
    }
}

impl Subject for Tier {
    fn read(&mut self, key: u64) -> bool {
        self.reads += 1;
        if self.reads.is_multiple_of(READS_PER_MINUTE / 60) {
            self.clock.advance_ms(1000);
        }
        let key = key.to_be_bytes();
        let hit = self.tier.get(&key) != Lookup::Miss;
        if !hit {
            self.tier.put(&key, &VALUE, Source::Fill);
        }
        hit
    }
}

struct Moka(moka::sync::Cache<Box<[u8]>, Arc<[u8]>>);

impl Moka {
    fn new(rows: u64) -> Moka {
        Moka(moka::sync::Cache::new(rows))
    }
}

impl Subject for Moka {
    fn read(&mut self, key: u64) -> bool {
        let key = key.to_be_bytes();
        let hit = self.0.get(&key[..]).is_some();
        if !hit {
            self.0.insert(key.into(), VALUE.into());
        }
        hit
    }
}

struct Quick(quick_cache::sync::Cache<Box<[u8]>, Arc<[u8]>>);

impl Quick {
    fn new(rows: u64) -> Quick {
        Quick(quick_cache::sync::Cache::new(rows as usize))
    }
}

impl Subject for Quick {
    fn read(&mut self, key: u64) -> bool {
        let key = key.to_be_bytes();
        let hit = self.0.get(&key[..]).is_some();
        if !hit {
            self.0.insert(key.into(), VALUE.into());
        }
        hit
    }
}

/// Percent of reads that hit.
fn measure(subject: &mut dyn Subject, trace: &mut dyn FnMut(u64) -> u64) -> f64 {
    let (mut hits, mut counted) = (0u64, 0u64);
    for number in 0..READS {
        let hit = subject.read(trace(number));
        if number >= READS / 4 {
            (hits, counted) = (hits + u64::from(hit), counted + 1);
        }
    }
    hits as f64 * 100.0 / counted as f64
}

/// What is done with a trace, which gives the key of each step.
type Work<'w> = dyn FnMut(&mut dyn FnMut(u64) -> u64) -> f64 + 'w;

/// A trace by its name; the same for every subject.
fn with_trace(name: &str, theta: f64, work: &mut Work<'_>) -> f64 {
    let counters = Counters::default();
    let mut picker = Picker::new(Pattern::Zipf { theta, scrambled: true }, KEYS, &counters);
    let mut rng = Rng::new(7);
    match name {
        "scans in between" => work(&mut |number| {
            let within = number % SCAN_EVERY;
            if number >= SCAN_EVERY && within < SCAN_KEYS {
                // Each scan sees keys that nobody else asks for.
                return KEYS + number;
            }
            picker.pick(&mut rng)
        }),
        "shifting" => work(&mut |number| {
            // Names are scattered over popularities, so after each stretch nearly all popular keys are others.
            let shift = number / SHIFT_EVERY * (KEYS / 5);
            (picker.pick(&mut rng) + shift) % KEYS
        }),
        _ => work(&mut |_| picker.pick(&mut rng)),
    }
}

/// Rows the tier holds in its budget.
fn rows_of_tier() -> u64 {
    let mut full = Tier::new(Policy::Lru);
    for key in 0..KEYS {
        full.read(key);
    }
    (full.tier.entries() as u64).max(1)
}

fn allocated_bytes() -> u64 {
    let fresh = epoch::advance().and_then(|_| stats::allocated::read());
    fresh.map_or(0, |bytes| bytes as u64)
}

/// Rows another cache holds in as many bytes; it is filled with `rows` to see what one takes.
fn rows_of<S: Subject>(new: impl Fn(u64) -> S, rows: u64) -> u64 {
    let before = allocated_bytes();
    let mut full = new(rows);
    for key in 0..4 * rows {
        full.read(key);
    }
    let bytes = allocated_bytes().saturating_sub(before).max(1);
    BUDGET_BYTES as u64 * rows / bytes
}

fn print_ratios(of_tier: u64, of_moka: u64, of_quick: u64) {
    println!(
        "\n| trace | LRU, {of_tier} rows | LFU | moka, {of_moka} | quick_cache, {of_quick} |\n|---|---|---|---|---|"
    );
    for theta in [0.8, 0.99] {
        for name in ["zipf", "scans in between", "shifting"] {
            let ratio =
                |subject: &mut dyn Subject| with_trace(name, theta, &mut |trace| measure(subject, trace));
            let lfu = Policy::Lfu { log_factor: 10, decay_minutes: 1 };
            let ratios = [
                ratio(&mut Tier::new(Policy::Lru)),
                ratio(&mut Tier::new(lfu)),
                ratio(&mut Moka::new(of_moka)),
                ratio(&mut Quick::new(of_quick)),
            ];
            let cells: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.1}")).collect();
            println!("| {name}, theta {theta} | {} |", cells.join(" | "));
        }
    }
}

fn main() {
    let rows = rows_of_tier();
    let by_allocator = rows_of(|_| Tier::new(Policy::Lru), rows);
    println!(
        "{KEYS} keys, {READS} reads, {BUDGET_BYTES} bytes: {rows} rows of the tier, {by_allocator} by the allocator's count"
    );
    print_ratios(rows, rows_of(Moka::new, rows), rows_of(Quick::new, rows));
    print_ratios(rows, rows, rows);
}
