//! Samples of the process and of its rates, taken in the background so that nobody reads /proc on a worker.
//!
//! Somebody calls `tick` every 100 ms with running totals. Each rate is the mean of the last sixteen steps, as
//! Redis counts its `instantaneous_*`. Memory and processor time are sampled with every tenth tick. One mutex,
//! held for a few copies.

use super::process::{Allocated, Cpu, Host, resident_bytes};
use parking_lot::Mutex;

/// How often `tick` wants to be called.
pub const TICK_PERIOD_MS: u64 = 100;
/// Steps a rate is the mean of.
const STEPS: usize = 16;
/// Ticks from one sample of the process to the next.
const TICKS_PER_SAMPLE: u64 = 10;

/// Running totals since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Commands run.
    pub commands: u64,
    /// Bytes read from clients.
    pub received_bytes: u64,
    /// Bytes written to clients.
    pub sent_bytes: u64,
}

/// How fast the totals grow, each per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Commands.
    pub commands: u64,
    /// Bytes read.
    pub received_bytes: u64,
    /// Bytes written.
    pub sent_bytes: u64,
}

/// The process as it was lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Processor time since the start.
    pub cpu: Cpu,
    /// Bytes in memory.
    pub resident_bytes: u64,
    /// The most the allocator had handed out at any sample, bytes.
    pub peak_bytes: u64,
    /// When that was, unix seconds.
    pub peak_at_s: u64,
}

/// The last steps of one total.
#[derive(Debug, Default)]
struct Ring {
    steps: [u64; STEPS],
    next: usize,
    total: u64,
}

impl Ring {
    fn note(&mut self, total: u64, step_us: u64) {
        // A total that has shrunk was reset; it counts from there.
        let grown = total.checked_sub(self.total).unwrap_or(total);
        self.total = total;
        self.steps[self.next] = grown.saturating_mul(1_000_000) / step_us.max(1);
        self.next = (self.next + 1) % STEPS;
    }

    fn mean(&self) -> u64 {
        self.steps.iter().sum::<u64>() / STEPS as u64
    }
}

#[derive(Default)]
struct State {
    ticks: u64,
    last_us: u64,
    commands: Ring,
    received: Ring,
    sent: Ring,
    sample: Sample,
}

/// See the head of the file.
pub struct Vitals {
    host: Host,
    /// What the allocator had handed out when this was made.
    started_bytes: u64,
    state: Mutex<State>,
}

impl Default for Vitals {
    fn default() -> Vitals {
        let sample = Sample { cpu: Cpu::read(), resident_bytes: resident_bytes(), ..Sample::default() };
        let state = Mutex::new(State { sample, ..State::default() });
        Vitals { host: Host::read(), started_bytes: Allocated::read().used, state }
    }
}

impl Vitals {
    /// Takes a step: `mono_us` is the monotonic time, `now_ms` unix time. Reads /proc now and then: not for a
    /// worker.
    pub fn tick(&self, mono_us: u64, now_ms: u64, totals: Totals) {
        let is_due = self.state.lock().ticks.is_multiple_of(TICKS_PER_SAMPLE);
        let fresh = is_due.then(|| (Cpu::read(), resident_bytes(), Allocated::read().used));
        let mut state = self.state.lock();
        state.step(mono_us, totals);
        if let Some((cpu, resident_bytes, used_bytes)) = fresh {
            state.sample.cpu = cpu;
            state.sample.resident_bytes = resident_bytes;
            state.note_used(used_bytes, now_ms);
        }
    }

    /// The rates over the last steps.
    pub fn rates(&self) -> Rates {
        let state = self.state.lock();
        Rates {
            commands: state.commands.mean(),
            received_bytes: state.received.mean(),
            sent_bytes: state.sent.mean(),
        }
    }

    /// The last sample. `used_bytes`, what the allocator has handed out just now, may be a new peak.
    pub fn sample(&self, used_bytes: u64, now_ms: u64) -> Sample {
        let mut state = self.state.lock();
        state.note_used(used_bytes, now_ms);
        state.sample
    }

    /// What the allocator had handed out before the first client came, bytes.
    pub fn started_bytes(&self) -> u64 {
        self.started_bytes
    }

    /// What does not change.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// CONFIG RESETSTAT: the rates begin anew. The next tick only learns where the totals stand.
    pub fn reset(&self) {
        let mut state = self.state.lock();
        *state = State { sample: state.sample, ..State::default() };
    }
}

impl State {
    fn step(&mut self, mono_us: u64, totals: Totals) {
        let step_us = mono_us.saturating_sub(self.last_us);
        // The first tick only learns where the totals stand.
        if self.ticks > 0 {
            self.commands.note(totals.commands, step_us);
            self.received.note(totals.received_bytes, step_us);
            self.sent.note(totals.sent_bytes, step_us);
        } else {
            self.commands.total = totals.commands;
            self.received.total = totals.received_bytes;
            self.sent.total = totals.sent_bytes;
        }
        self.last_us = mono_us;
        self.ticks += 1;
    }

    fn note_used(&mut self, used_bytes: u64, now_ms: u64) {
        if used_bytes > self.sample.peak_bytes {
            self.sample.peak_bytes = used_bytes;
            self.sample.peak_at_s = now_ms / 1000;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(commands: u64) -> Totals {
        Totals { commands, received_bytes: commands * 10, sent_bytes: commands * 5 }
    }

    #[test]
    fn a_steady_load_shows_as_its_rate_after_sixteen_steps() {
        let vitals = Vitals::default();
        for step in 0..=STEPS as u64 {
            vitals.tick(step * 100_000, 0, totals(1_000_000 + step * 50));
        }
        assert_eq!(vitals.rates(), Rates { commands: 500, received_bytes: 5_000, sent_bytes: 2_500 });
    }

    #[test]
    fn a_reset_total_gives_no_absurd_rate_and_no_time_is_no_division_by_zero() {
        let vitals = Vitals::default();
        vitals.tick(0, 0, totals(1000));
        vitals.tick(100_000, 0, totals(16));
        assert_eq!(vitals.rates().commands, 10);
        vitals.tick(100_000, 0, totals(16));
        assert_eq!(vitals.rates().commands, 10);
    }

    #[test]
    fn a_reset_forgets_the_rates_and_keeps_the_peak() {
        let vitals = Vitals::default();
        assert_eq!(vitals.sample(5_000, 7_000).peak_bytes, 5_000);
        let later = vitals.sample(3_000, 9_000);
        assert_eq!((later.peak_bytes, later.peak_at_s), (5_000, 7));
        vitals.tick(0, 0, totals(0));
        vitals.tick(100_000, 0, totals(16));
        vitals.reset();
        assert_eq!(vitals.rates(), Rates::default());
        assert!(vitals.sample(3_000, 9_000).peak_bytes >= 5_000);
    }
}
