//! Hooks by which tests make the disk slow, full or broken. All off unless a test turns them on; checking one costs a relaxed
//! load, and only where the disk is about to be used.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// The faults a test may inject.
#[derive(Debug, Default)]
pub struct Faults {
    read_delay_us: AtomicU64,
    wal_fails: AtomicBool,
    open_fails: AtomicBool,
    loses_log: AtomicBool,
    stalls_left: AtomicI64,
    stops_writes: AtomicBool,
    write_fails: AtomicBool,
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

    /// From now on no write gets through, and compactions fail, as on a disk with too little room for them; or that is over.
    pub fn stop_writes(&self, stops: bool) {
        self.stops_writes.store(stops, Ordering::Relaxed);
    }

    /// The next write fails, as on a disk that is full.
    pub fn fail_write(&self) {
        self.write_fails.store(true, Ordering::Relaxed);
    }

    /// The `number`th memory-tier read from now (1 = the next) answers that it is cold; 0 turns this off.
    pub fn cold_at_read(&self, number: u32) {
        self.memory_reads_to_cold.store(i64::from(number), Ordering::Relaxed);
    }

    /// Reads that went to the disk tier and did not find memory enough.
    pub fn disk_reads(&self) -> u64 {
        self.disk_reads.load(Ordering::Relaxed)
    }

    pub(super) fn delays_reads(&self) -> bool {
        self.read_delay_us.load(Ordering::Relaxed) > 0
    }

    pub(super) fn on_disk_read(&self) {
        self.disk_reads.fetch_add(1, Ordering::Relaxed);
        let delay_us = self.read_delay_us.load(Ordering::Relaxed);
        if delay_us > 0 {
            std::thread::sleep(Duration::from_micros(delay_us));
        }
    }

    pub(super) fn wal_fails(&self) -> bool {
        let fails = self.wal_fails.load(Ordering::Relaxed);
        if fails {
            self.loses_log.store(true, Ordering::Relaxed);
        }
        fails
    }

    /// What was not flushed before an injected failure is lost at the reopen, as on a disk that really failed: closing the
    /// handle would write it after all. True once for each failure.
    pub(super) fn takes_loss(&self) -> bool {
        self.loses_log.load(Ordering::Relaxed) && self.loses_log.swap(false, Ordering::Relaxed)
    }

    pub(super) fn refuses_open(&self) -> bool {
        self.open_fails.load(Ordering::Relaxed)
    }

    pub(super) fn takes_write_failure(&self) -> bool {
        self.write_fails.load(Ordering::Relaxed) && self.write_fails.swap(false, Ordering::Relaxed)
    }

    pub(super) fn takes_stall(&self) -> bool {
        self.stalls_left.load(Ordering::Relaxed) > 0 && self.stalls_left.fetch_sub(1, Ordering::Relaxed) > 0
    }

    pub(super) fn stops_writes(&self) -> bool {
        self.stops_writes.load(Ordering::Relaxed)
    }

    pub(super) fn takes_cold(&self) -> bool {
        self.memory_reads_to_cold.load(Ordering::Relaxed) > 0
            && self.memory_reads_to_cold.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// The log files of a database and their lengths.
pub(super) fn log_lengths(folder: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let logs = entries.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
    logs.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len()))).collect()
}

/// Cuts files to these lengths.
pub(super) fn cut_logs(logs: Vec<(PathBuf, u64)>) {
    for (path, bytes) in logs {
        if let Err(error) =
            std::fs::File::options().write(true).open(&path).and_then(|file| file.set_len(bytes))
        {
            tracing::warn!(path = %path.display(), %error, "a log could not be cut");
        }
    }
}
