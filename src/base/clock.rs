//! The only source of time.
//!
//! A [`Clock`] is a handle to shared state, cheap to clone and to read: no lock, one atomic load.
//! A *system* clock reads the machine's time and adds an offset, which is zero unless a test moved
//! it. A *manual* clock has no other time than the one it was set to. Wall time may jump in either
//! direction; [`Clock::mono_us`] never goes back, whatever is done to the wall time.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The moment this process first asked for monotonic time.
static PROCESS_START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A handle to a clock; clones show and move the same time.
#[derive(Clone)]
pub struct Clock {
    face: Arc<Face>,
}

struct Face {
    is_system: bool,
    /// System: what to add to the machine's wall time. Manual: the wall time itself. Microseconds.
    wall_us: AtomicI64,
    /// What to add to the machine's monotonic time (system), or that time itself (manual).
    mono_us: AtomicU64,
}

impl Clock {
    /// A clock that follows the machine's time.
    pub fn system() -> Clock {
        LazyLock::force(&PROCESS_START);
        Clock::with(true, 0)
    }

    /// A clock that stands at `now_ms` (unix milliseconds) until it is moved.
    pub fn manual(now_ms: u64) -> Clock {
        Clock::with(false, us_of_ms(now_ms))
    }

    fn with(is_system: bool, wall_us: i64) -> Clock {
        let wall_us = AtomicI64::new(wall_us);
        Clock { face: Arc::new(Face { is_system, wall_us, mono_us: AtomicU64::new(0) }) }
    }

    /// Unix time in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }

    /// Unix time in microseconds; a time before 1970 reads as 0.
    pub fn now_us(&self) -> u64 {
        let set = self.face.wall_us.load(Ordering::Relaxed);
        let now = if self.face.is_system { machine_wall_us().saturating_add(set) } else { set };
        u64::try_from(now).unwrap_or(0)
    }

    /// Microseconds since the process started (manual: since the clock was made). Never goes back.
    pub fn mono_us(&self) -> u64 {
        let set = self.face.mono_us.load(Ordering::Relaxed);
        if self.face.is_system { machine_mono_us().saturating_add(set) } else { set }
    }

    /// Puts the wall time to `now_ms`. A step forward moves the monotonic time with it.
    pub fn set_ms(&self, now_ms: u64) {
        let target_us = us_of_ms(now_ms);
        let base_us = if self.face.is_system { machine_wall_us() } else { 0 };
        let new = target_us.saturating_sub(base_us);
        let old = self.face.wall_us.swap(new, Ordering::Relaxed);
        if let Ok(forward_us) = u64::try_from(new.saturating_sub(old)) {
            self.face.mono_us.fetch_add(forward_us, Ordering::Relaxed);
        }
    }

    /// Moves the wall time and the monotonic time forward by `step_ms`.
    pub fn advance_ms(&self, step_ms: u64) {
        let step_us = us_of_ms(step_ms);
        self.face.wall_us.fetch_add(step_us, Ordering::Relaxed);
        self.face.mono_us.fetch_add(step_us.unsigned_abs(), Ordering::Relaxed);
    }
}

fn us_of_ms(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1000)).unwrap_or(i64::MAX)
}

fn machine_wall_us() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

fn machine_mono_us() -> u64 {
    u64::try_from(PROCESS_START.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn a_manual_clock_stands_still_until_moved_and_clones_share_it() {
        let clock = Clock::manual(1_000);
        let other = clock.clone();
        assert_eq!((clock.now_ms(), clock.now_us(), clock.mono_us()), (1_000, 1_000_000, 0));
        clock.advance_ms(5);
        assert_eq!((other.now_ms(), other.mono_us()), (1_005, 5_000));
        other.set_ms(2_000);
        assert_eq!((clock.now_ms(), clock.mono_us()), (2_000, 1_000_000));
    }

    #[test]
    fn monotonic_time_does_not_follow_a_step_back() {
        let clock = Clock::manual(10_000);
        clock.advance_ms(10);
        clock.set_ms(1);
        assert_eq!((clock.now_ms(), clock.mono_us()), (1, 10_000));
    }

    #[test]
    fn a_system_clock_can_be_moved_forward_and_back() {
        let clock = Clock::system();
        let (wall, mono) = (clock.now_ms(), clock.mono_us());
        clock.advance_ms(3_600_000);
        assert!(clock.now_ms() >= wall + 3_600_000);
        assert!(clock.mono_us() >= mono + 3_600_000_000);
        clock.set_ms(50);
        assert!((50..1_000_000).contains(&clock.now_ms()));
        assert!(clock.mono_us() >= mono + 3_600_000_000);
    }
}
