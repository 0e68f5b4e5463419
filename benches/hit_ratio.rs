//! How often the hot tier has what is asked for, beside the crates moka and quick_cache with room for as many rows.
//!
//! Each trace is a sequence of keys: a read that misses puts the row in. All rows have one size, so that room is a number of rows: as
//! many as the tier holds in its budget. The first quarter of a trace does not count.
//!
//! Run with `tools/cargo bench --bench hit_ratio`. It prints a table: percent of reads that hit.

use std::num::NonZeroU64;
use tuffdb::base::clock::Clock;
use tuffdb::base::random::Rng;
use tuffdb::hot::{HotTier, Lookup, Policy, Source};
use tuffdb::load::keys::{Counters, Pattern, Picker};

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

struct Moka(moka::sync::Cache<u64, ()>);

impl Subject for Moka {
    fn read(&mut self, key: u64) -> bool {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.insert(key, ());
        }
        hit
    }
}

struct Quick(quick_cache::sync::Cache<u64, ()>);

impl Subject for Quick {
    fn read(&mut self, key: u64) -> bool {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.insert(key, ());
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

/// A trace by its name; the same for every subject.
fn with_trace(name: &str, theta: f64, work: &mut dyn FnMut(&mut dyn FnMut(u64) -> u64) -> f64) -> f64 {
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

fn room() -> u64 {
    let mut full = Tier::new(Policy::Lru);
    for key in 0..KEYS {
        full.read(key);
    }
    full.tier.entries() as u64
}

fn main() {
    let room = NonZeroU64::new(room()).map_or(1, NonZeroU64::get);
    println!("{KEYS} keys, room for {room}, {READS} reads\n");
    println!("| trace | LRU | LFU | moka | quick_cache |\n|---|---|---|---|---|");
    for theta in [0.8, 0.99] {
        for name in ["zipf", "scans in between", "shifting"] {
            let ratio =
                |subject: &mut dyn Subject| with_trace(name, theta, &mut |trace| measure(subject, trace));
            let lfu = Policy::Lfu { log_factor: 10, decay_minutes: 1 };
            let ratios = [
                ratio(&mut Tier::new(Policy::Lru)),
                ratio(&mut Tier::new(lfu)),
                ratio(&mut Moka(moka::sync::Cache::new(room))),
                ratio(&mut Quick(quick_cache::sync::Cache::new(room as usize))),
            ];
            let cells: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.1}")).collect();
            println!("| {name}, theta {theta} | {} |", cells.join(" | "));
        }
    }
}
