//! How often each command ran, how long it took, how often it failed.
//!
//! Each worker writes only its own row of counters, with plain stores; readers add the rows up. The last row is the pool's,
//! shared by its threads.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the duration histogram's buckets, microseconds: powers of two.
pub const BUCKETS: usize = 22;

/// A code is not longer than this.
const ERROR_CODE_BYTES_MAX: usize = 31;
/// Different error codes kept apart.
const ERROR_CODES_MAX: usize = 128;
/// All further ones, as Valkey calls them. Redis stops counting instead, and forgets what it has counted.
const OTHER_CODES: &str = "ERRORSTATS_OVERFLOW";

fn count_code(errors: &mut BTreeMap<String, u64>, code: String, by: u64) {
    if errors.len() < ERROR_CODES_MAX || errors.contains_key(&code) {
        *errors.entry(code).or_default() += by;
    } else {
        *errors.entry(OTHER_CODES.to_owned()).or_default() += by;
    }
}

#[derive(Default)]
struct Cell {
    calls: AtomicU64,
    duration_us: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// One command's figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandFigures {
    /// Times it ran.
    pub calls: u64,
    /// Time in it, microseconds.
    pub duration_us: u64,
    /// Runs that ended in an error.
    pub failed: u64,
    /// Calls refused before they ran.
    pub rejected: u64,
    /// Runs by duration; bucket `n` holds those of at most 2^n microseconds.
    pub buckets: [u64; BUCKETS],
}

impl CommandFigures {
    fn count_run(&mut self, duration_us: u64, failed: bool) {
        self.calls += 1;
        self.duration_us += duration_us;
        self.failed += u64::from(failed);
        self.buckets[bucket_of(duration_us)] += 1;
    }
}

/// The bucket of the histogram that a duration falls into.
pub fn bucket_of(duration_us: u64) -> usize {
    (64 - duration_us.saturating_sub(1).leading_zeros() as usize).min(BUCKETS - 1)
}

/// The code that an error's text begins with. One without a code that is soon over is an `ERR`, as in Redis.
fn code_of(text: &[u8]) -> String {
    let begin = text.get(..ERROR_CODE_BYTES_MAX).unwrap_or(text);
    let code = begin.iter().position(|&byte| byte == b' ').map_or(b"ERR".as_slice(), |end| &text[..end]);
    String::from_utf8_lossy(code).into_owned()
}

/// What many commands of one script add to the figures. It grows with how many kinds of them there are, not with their number.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    commands: BTreeMap<usize, CommandFigures>,
    errors: BTreeMap<String, u64>,
    last_error: Option<Box<[u8]>>,
}

impl Tally {
    /// A command has ended, in this error if in one; without a duration it was refused before it ran, and maybe there is no such command.
    pub fn note(&mut self, command: Option<usize>, duration_us: Option<u64>, error: Option<Box<[u8]>>) {
        let figures = command.map(|command| self.commands.entry(command).or_default());
        match (figures, duration_us) {
            (Some(figures), Some(duration_us)) => figures.count_run(duration_us, error.is_some()),
            (Some(figures), None) => figures.rejected += 1,
            (None, _) => {}
        }
        if let Some(text) = error {
            count_code(&mut self.errors, code_of(&text), 1);
            self.last_error = Some(text);
        }
    }

    /// How many commands have run.
    pub fn calls(&self) -> u64 {
        self.commands.values().map(|figures| figures.calls).sum()
    }

    /// What the last error said.
    pub fn last_error(&self) -> Option<&[u8]> {
        self.last_error.as_deref()
    }

    /// True when nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.errors.is_empty()
    }
}

/// All commands' figures.
pub struct Stats {
    rows: Vec<Box<[Cell]>>,
    errors: Mutex<BTreeMap<String, u64>>,
    error_total: AtomicU64,
}

impl Stats {
    /// Figures for so many commands and workers.
    pub fn new(commands: usize, workers: usize) -> Stats {
        let row = || (0..commands).map(|_| Cell::default()).collect();
        Stats {
            rows: (0..=workers).map(|_| row()).collect(),
            errors: Mutex::default(),
            error_total: AtomicU64::new(0),
        }
    }

    /// A command ran on a worker.
    pub fn ran(&self, worker: usize, command: usize, duration_us: u64, failed: bool) {
        let Some(cell) = self.rows.get(worker).and_then(|row| row.get(command)) else { return };
        // Only this worker writes the row (the pool's row may lose a count; it is for people).
        let add = |counter: &AtomicU64, by: u64| {
            counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed)
        };
        add(&cell.calls, 1);
        add(&cell.duration_us, duration_us);
        if failed {
            add(&cell.failed, 1);
        }
        add(&cell.buckets[bucket_of(duration_us)], 1);
    }

    /// Adds what a script has done.
    pub fn add(&self, worker: usize, tally: &Tally) {
        for (&command, figures) in &tally.commands {
            let Some(cell) = self.rows.get(worker).and_then(|row| row.get(command)) else { continue };
            let counters = [&cell.calls, &cell.duration_us, &cell.failed, &cell.rejected];
            let counted = [figures.calls, figures.duration_us, figures.failed, figures.rejected];
            for (counter, by) in
                counters.into_iter().zip(counted).chain(cell.buckets.iter().zip(figures.buckets))
            {
                counter.fetch_add(by, Ordering::Relaxed);
            }
        }
        for (code, &count) in &tally.errors {
            self.count_errors(code.clone(), count);
        }
    }

    /// A command was refused before it ran.
    pub fn rejected(&self, worker: usize, command: usize) {
        if let Some(cell) = self.rows.get(worker).and_then(|row| row.get(command)) {
            cell.rejected.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An error was answered; `text` begins with its code.
    pub fn error(&self, text: &[u8]) {
        self.count_errors(code_of(text), 1);
    }

    fn count_errors(&self, code: String, by: u64) {
        self.error_total.fetch_add(by, Ordering::Relaxed);
        count_code(&mut self.errors.lock(), code, by);
    }

    /// One command's figures.
    pub fn figures(&self, command: usize) -> CommandFigures {
        let mut sum = CommandFigures::default();
        for cell in self.rows.iter().filter_map(|row| row.get(command)) {
            sum.calls += cell.calls.load(Ordering::Relaxed);
            sum.duration_us += cell.duration_us.load(Ordering::Relaxed);
            sum.failed += cell.failed.load(Ordering::Relaxed);
            sum.rejected += cell.rejected.load(Ordering::Relaxed);
            for (total, bucket) in sum.buckets.iter_mut().zip(&cell.buckets) {
                *total += bucket.load(Ordering::Relaxed);
            }
        }
        sum
    }

    /// Commands run since the start (or CONFIG RESETSTAT).
    pub fn calls(&self) -> u64 {
        self.rows.iter().flat_map(|row| row.iter()).map(|cell| cell.calls.load(Ordering::Relaxed)).sum()
    }

    /// Errors by code.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// Errors of any code.
    pub fn error_total(&self) -> u64 {
        self.error_total.load(Ordering::Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        for cell in self.rows.iter().flat_map(|row| row.iter()) {
            for counter in [&cell.calls, &cell.duration_us, &cell.failed, &cell.rejected]
                .into_iter()
                .chain(&cell.buckets)
            {
                counter.store(0, Ordering::Relaxed);
            }
        }
        self.errors.lock().clear();
        self.error_total.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_add_up_over_workers_and_durations_fall_into_their_buckets() {
        let stats = Stats::new(2, 2);
        stats.ran(0, 1, 3, false);
        stats.ran(1, 1, 4, true);
        stats.ran(2, 1, u64::MAX >> 8, false);
        let figures = stats.figures(1);
        assert_eq!((figures.calls, figures.failed), (3, 1));
        assert_eq!((figures.buckets[2], figures.buckets[BUCKETS - 1]), (2, 1));
        assert_eq!(stats.calls(), 3);
        stats.error(b"WRONGTYPE Operation");
        assert_eq!(stats.errors().get("WRONGTYPE"), Some(&1));
        stats.reset();
        assert_eq!((stats.calls(), stats.error_total()), (0, 0));
    }

    #[test]
    fn error_codes_beyond_those_kept_apart_are_counted_together() {
        let stats = Stats::new(1, 1);
        for code in 0..ERROR_CODES_MAX + 10 {
            stats.error(format!("CODE{code} x").as_bytes());
            stats.error(b"CODE0 x");
        }
        let errors = stats.errors();
        assert_eq!(errors.len(), ERROR_CODES_MAX + 1);
        assert_eq!((errors["CODE0"], errors[OTHER_CODES]), (ERROR_CODES_MAX as u64 + 11, 10));
    }
}
