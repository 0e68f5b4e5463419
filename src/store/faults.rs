//! Hooks by which tests make the disk slow, full or broken. All off unless a test turns them on; checking one costs a relaxed
//! load, and only where the disk is about to be used.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// The faults a test may inject.
#[derive(Debug, Default)]
pub struct Faults {
    read_delay_us: AtomicU64,
    wal_fails: AtomicBool,
    open_fails: AtomicBool,
    stalls_left: AtomicI64,
    memory_reads_to_cold: AtomicI64,
    disk_reads: AtomicU64,
}

impl Faults {
    /// Every read from disk takes at least this long.
    pub fn delay_disk_reads(&self, delay: Duration) {
        self.read_delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
    }

    /// Flushing the log fails from now on, or works again. Reopening fails as long as `open_too`.
    pub fn fail_wal(&self, wal: bool, open_too: bool) {
        self.wal_fails.store(wal, Ordering::Relaxed);
        self.open_fails.store(open_too, Ordering::Relaxed);
    }

    /// The next `count` writes that may not wait answer that they are stalled.
    pub fn stall_writes(&self, count: u32) {
        self.stalls_left.store(i64::from(count), Ordering::Relaxed);
    }

    /// The `number`th memory-tier read from now (1 = the next) answers that it is cold; 0 turns this off.
    pub fn cold_at_read(&self, number: u32) {
        self.memory_reads_to_cold.store(i64::from(number), Ordering::Relaxed);
    }

    /// Reads that went to the disk tier and did not find memory enough.
    pub fn disk_reads(&self) -> u64 {
        self.disk_reads.load(Ordering::Relaxed)
    }

    pub(super) fn on_disk_read(&self) {
        self.disk_reads.fetch_add(1, Ordering::Relaxed);
        let delay_us = self.read_delay_us.load(Ordering::Relaxed);
        if delay_us > 0 {
            std::thread::sleep(Duration::from_micros(delay_us));
        }
    }

    pub(super) fn wal_fails(&self) -> bool {
        self.wal_fails.load(Ordering::Relaxed)
    }

    pub(super) fn refuses_open(&self) -> bool {
        self.open_fails.load(Ordering::Relaxed)
    }

    pub(super) fn takes_stall(&self) -> bool {
        self.stalls_left.load(Ordering::Relaxed) > 0 && self.stalls_left.fetch_sub(1, Ordering::Relaxed) > 0
    }

    pub(super) fn takes_cold(&self) -> bool {
        self.memory_reads_to_cold.load(Ordering::Relaxed) > 0
            && self.memory_reads_to_cold.fetch_sub(1, Ordering::Relaxed) == 1
    }
}
