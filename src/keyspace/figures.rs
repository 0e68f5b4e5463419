//! Counters of what the keyspace did, for INFO and the metrics. Relaxed: they are read for people.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The counters.
#[derive(Debug, Default)]
pub struct Figures {
    memory_hits: AtomicU64,
    changes: AtomicU64,
    expired: AtomicU64,
    lookups: [Lookups; LOOKUP_CELLS],
    cold_runs: AtomicU64,
    heavy_runs: AtomicU64,
    parked_runs: AtomicU64,
    stalled_runs: AtomicU64,
    conflicts: AtomicU64,
    last_resorts: AtomicU64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident, $count:ident;)*) => {
        impl Figures {
            $(
                #[doc = concat!("Adds one to `", stringify!($field), "`.")]
                pub fn $count(&self) {
                    self.$field.fetch_add(1, Ordering::Relaxed);
                }

                $(#[$doc])*
                pub fn $field(&self) -> u64 {
                    self.$field.load(Ordering::Relaxed)
                }
            )*
        }
    };
}

counters! {
    /// Rows a worker found in RocksDB's memory, not in the hot tier.
    memory_hits, count_memory_hit;
    /// Keys removed because their time was up.
    expired, count_expired;
    /// Runs ended because a row was on disk.
    cold_runs, count_cold_run;
    /// Runs on the pool.
    heavy_runs, count_heavy_run;
    /// Runs that waited for a stripe or the gate.
    parked_runs, count_parked_run;
    /// Runs that waited for RocksDB to take writes again.
    stalled_runs, count_stalled_run;
    /// Heavy runs repeated because what they had read changed.
    conflicts, count_conflict;
    /// Heavy runs done under their locks, as the last resort.
    last_resorts, count_last_resort;
}

/// Threads that count lookups without disturbing each other; more of them share.
const LOOKUP_CELLS: usize = 16;

/// Counted with every read, so each thread has a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lookups {
    hits: AtomicU64,
    misses: AtomicU64,
}

static NEXT_CELL: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static CELL: usize = NEXT_CELL.fetch_add(1, Ordering::Relaxed) % LOOKUP_CELLS;
}

impl Figures {
    /// A command has read keys: so many were there, so many were not.
    pub fn count_lookups(&self, hits: u32, misses: u32) {
        let cell = &self.lookups[CELL.with(|cell| *cell)];
        if hits > 0 {
            cell.hits.fetch_add(u64::from(hits), Ordering::Relaxed);
        }
        if misses > 0 {
            cell.misses.fetch_add(u64::from(misses), Ordering::Relaxed);
        }
    }

    /// Reads of a key that was there.
    pub fn key_hits(&self) -> u64 {
        self.lookups.iter().map(|cell| cell.hits.load(Ordering::Relaxed)).sum()
    }

    /// Reads of a key that was not.
    pub fn key_misses(&self) -> u64 {
        self.lookups.iter().map(|cell| cell.misses.load(Ordering::Relaxed)).sum()
    }

    /// Adds to the keys changed.
    pub fn count_changes(&self, keys: u64) {
        self.changes.fetch_add(keys, Ordering::Relaxed);
    }

    /// Keys changed since the start.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        for counter in [
            &self.memory_hits,
            &self.expired,
            &self.cold_runs,
            &self.heavy_runs,
            &self.parked_runs,
            &self.stalled_runs,
            &self.conflicts,
            &self.last_resorts,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        for cell in &self.lookups {
            cell.hits.store(0, Ordering::Relaxed);
            cell.misses.store(0, Ordering::Relaxed);
        }
    }
}
