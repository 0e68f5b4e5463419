//! What the operating system and the allocator say of this process.
//!
//! /proc is read as files, so nothing here belongs on a worker: `vitals` takes samples in the background. The
//! allocator's figures are the exception, they cost no file call. What cannot be read is 0 or empty: figures
//! must never be a reason to fail.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use tikv_jemalloc_ctl::{Access, AsName, arenas, background_thread, epoch, stats, version};

/// Ticks of /proc/self/stat in a second. A constant of Linux' interface to programs, whatever the kernel was
/// built with.
const TICKS_PER_SECOND: u64 = 100;

/// What does not change while the process runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Kernel name, release, machine: `Linux 6.1.0 x86_64`.
    pub os: String,
    /// The program's file.
    pub executable: String,
    /// The allocator with its version: `jemalloc-5.3.0`.
    pub allocator: String,
    /// The machine's memory, bytes.
    pub memory_bytes: u64,
}

impl Host {
    /// Asks the operating system.
    pub fn read() -> Host {
        let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let (kernel, release) = (line("/proc/sys/kernel/ostype"), line("/proc/sys/kernel/osrelease"));
        let executable = std::env::current_exe().unwrap_or_default();
        // As in `5.3.0-0-g54eaed1d`: what follows the number is the commit.
        let release_of = |text: &'static str| text.split('-').next().unwrap_or_default();
        let allocator = version::read().map(release_of).unwrap_or_default();
        Host {
            os: format!("{kernel} {release} {}", std::env::consts::ARCH),
            executable: executable.to_string_lossy().into_owned(),
            allocator: format!("jemalloc-{allocator}"),
            memory_bytes: kilobytes_of(&line("/proc/meminfo"), "MemTotal:"),
        }
    }
}

/// Processor time used by all threads, microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    /// In the program itself.
    pub user_us: u64,
    /// In the kernel on its behalf.
    pub system_us: u64,
}

impl Cpu {
    /// Asks the operating system; exact to a hundredth of a second.
    pub fn read() -> Cpu {
        read_proc("stat").and_then(|text| cpu_of(&text)).unwrap_or_default()
    }
}

/// What the allocator has handed out and holds, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allocated {
    /// Handed out.
    pub used: u64,
    /// In pages of which a part is handed out.
    pub active: u64,
    /// In pages that are in memory.
    pub resident: u64,
}

impl Allocated {
    /// Asks the allocator. No file call; to add up its arenas takes it a tenth of a millisecond and more.
    pub fn read() -> Allocated {
        if epoch::advance().is_err() {
            return Allocated::default();
        }
        let bytes = |read: tikv_jemalloc_ctl::Result<usize>| read.unwrap_or(0) as u64;
        Allocated {
            used: bytes(stats::allocated::read()),
            active: bytes(stats::active::read()),
            resident: bytes(stats::resident::read()),
        }
    }
}

/// Milliseconds after which the allocator gives back a page that nobody wants.
const DECAY_MS: isize = 3000;

/// Has the allocator see to its free pages from a thread of its own, so that those of a thread that sleeps go, too. For a server's
/// start; arenas made later follow.
pub fn tune_allocator() {
    let mut tuned = background_thread::write(true);
    tuned = tuned.and("arenas.dirty_decay_ms\0".name().write(DECAY_MS));
    for arena in 0..arenas::narenas::read().unwrap_or(0) {
        // One that was never used refuses, and takes over the default when it is.
        let _ = format!("arena.{arena}.dirty_decay_ms\0").name().write(DECAY_MS);
    }
    if let Err(error) = tuned {
        tracing::warn!(%error, "the allocator keeps free pages longer than it should");
    }
}

/// Has the allocator give every free page back to the system. Takes a while for gigabytes: not for a worker.
///
/// An arena whose pages decay at once has none to keep, so each gets that for a moment. One that was never used refuses.
pub fn purge() {
    for arena in 0..arenas::narenas::read().unwrap_or(0) {
        let name = format!("arena.{arena}.dirty_decay_ms\0");
        let decay_ms: Result<isize, _> = name.name().update(0isize);
        if let Ok(decay_ms) = decay_ms
            && let Err(error) = name.name().write(decay_ms)
        {
            tracing::warn!(%error, arena, "an arena of the allocator goes on giving pages back at once");
        }
    }
}

/// What the allocator says of itself: a name and a value in a line.
pub fn allocator_report() -> String {
    let fresh = epoch::advance().is_ok();
    let mut report = format!("jemalloc {}\n", version::read().unwrap_or_default());
    let mut line = |name: &str, value: tikv_jemalloc_ctl::Result<usize>| {
        // Writing to a string does not fail.
        let _ = writeln!(report, "{name}: {}", value.map_or("unknown".to_owned(), |value| value.to_string()));
    };
    if fresh {
        line("allocated bytes", stats::allocated::read());
        line("active bytes", stats::active::read());
        line("metadata bytes", stats::metadata::read());
        line("resident bytes", stats::resident::read());
        line("mapped bytes", stats::mapped::read());
        line("retained bytes", stats::retained::read());
    }
    line("arenas", arenas::narenas::read().map(|arenas| arenas as usize));
    line("page bytes", "arenas.page\0".name().read());
    report
}

/// Bytes of this process that are in memory.
pub fn resident_bytes() -> u64 {
    read_proc("statm").and_then(|text| pages_of(&text)).unwrap_or(0) * rustix::param::page_size() as u64
}

/// The second field of /proc/self/statm. Unlike /proc/self/status it costs next to nothing.
fn pages_of(text: &str) -> Option<u64> {
    text.split(' ').nth(1)?.parse().ok()
}

fn read_proc(name: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/self").join(name)).ok()
}

/// The line `<name> <number> kB` in bytes.
fn kilobytes_of(text: &str, name: &str) -> u64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    rest.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Fields 14 and 15 of /proc/self/stat. The second field, the program's name in brackets, may hold anything.
fn cpu_of(text: &str) -> Option<Cpu> {
    let (_, fields) = text.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(11).map(str::parse::<u64>);
    let mut next_us = || Some(ticks.next()?.ok()?.saturating_mul(1_000_000 / TICKS_PER_SECOND));
    Some(Cpu { user_us: next_us()?, system_us: next_us()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_times_are_found_behind_any_program_name() {
        let stat = "42 (a) b (c) R 1 2 3 0 -1 4194304 100 0 0 0 250 75 0 0 20 0 1 0 356902 3133440";
        assert_eq!(cpu_of(stat), Some(Cpu { user_us: 2_500_000, system_us: 750_000 }));
        assert_eq!(cpu_of("42 (a) R 1"), None);
        assert_eq!(cpu_of(""), None);
    }

    #[test]
    fn kilobytes_are_read_by_name() {
        let status = "Name:\ttuff\nVmHWM:\t    9 kB\nVmRSS:\t    7540 kB\n";
        assert_eq!(kilobytes_of(status, "VmRSS:"), 7540 * 1024);
        assert_eq!(kilobytes_of(status, "VmSwap:"), 0);
        assert_eq!(kilobytes_of("VmRSS: many kB", "VmRSS:"), 0);
    }

    #[test]
    fn the_second_number_of_statm_is_the_resident_pages() {
        assert_eq!(pages_of("30000 6012 3000 500 0 9000 0\n"), Some(6012));
        assert_eq!(pages_of(""), None);
    }

    #[test]
    fn a_purge_leaves_the_pace_of_decay_as_it_was() {
        let decay_ms = || -> isize { "arena.0.dirty_decay_ms\0".name().read().unwrap() };
        let before = decay_ms();
        purge();
        assert_eq!(decay_ms(), before);
        assert_ne!(before, 0);
    }

    #[test]
    fn the_allocator_knows_all_its_figures() {
        let report = allocator_report();
        assert!(report.starts_with("jemalloc 5") && report.lines().count() == 9, "{report}");
        assert!(!report.contains("unknown"), "{report}");
    }

    #[test]
    fn this_process_has_memory_and_a_host() {
        let host = Host::read();
        assert!(host.os.starts_with("Linux ") && host.memory_bytes > 1 << 20 && !host.executable.is_empty());
        assert!(host.allocator.starts_with("jemalloc-"));
        assert!(resident_bytes() > 1 << 16);
    }
}
