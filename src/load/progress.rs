//! The bar on a terminal while a phase runs: how far it is, how fast, and how long it will take.

use super::run::Phase;
use super::worker::Shared;
use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

const BAR_WIDTH: usize = 30;

/// The bar; it draws nothing where standard error is no terminal.
pub struct Progress {
    name: &'static str,
    requests: Option<u64>,
    until: Option<Duration>,
    draws: bool,
    has_drawn: bool,
}

impl Progress {
    /// A bar for `phase`; none when `is_quiet`.
    pub fn new(phase: &Phase, is_quiet: bool) -> Progress {
        Progress {
            name: phase.name,
            requests: phase.requests,
            until: phase.until_ns.map(Duration::from_nanos),
            draws: !is_quiet && std::io::stderr().is_terminal(),
            has_drawn: false,
        }
    }

    /// Draws it as it is after `elapsed`.
    pub fn draw(&mut self, shared: &Shared, elapsed: Duration) {
        if self.draws {
            let line = self.line(shared.answered.load(Ordering::Relaxed), elapsed);
            eprint!("\r{line}\x1b[K");
            let _ = std::io::stderr().flush();
            self.has_drawn = true;
        }
    }

    /// Takes it off the terminal.
    pub fn clear(&mut self) {
        if self.has_drawn {
            eprint!("\r\x1b[K");
        }
    }

    fn line(&self, answered: u64, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let rate = answered as f64 / seconds;
        let by_count = self.requests.filter(|n| *n > 0).map(|n| answered as f64 / n as f64);
        let by_time = self.until.map(|until| seconds / until.as_secs_f64().max(1e-3));
        let done = by_count.into_iter().chain(by_time).fold(0.0, f64::max).min(1.0);
        let filled = (done * BAR_WIDTH as f64) as usize;
        let left = if done > 0.0 { seconds / done - seconds } else { 0.0 };
        format!(
            "{} [{}{}] {:3.0} %, {answered} requests, {rate:.0}/s, {left:.0} s left",
            self.name,
            "#".repeat(filled),
            " ".repeat(BAR_WIDTH - filled),
            done * 100.0,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_share_rate_and_rest() {
        let bar =
            Progress { name: "load", requests: Some(1000), until: None, draws: false, has_drawn: false };
        assert_eq!(
            bar.line(500, Duration::from_secs(2)),
            "load [###############               ]  50 %, 500 requests, 250/s, 2 s left"
        );
        assert!(bar.line(0, Duration::ZERO).contains("  0 %"));
        let timed = Progress { requests: None, until: Some(Duration::from_secs(4)), ..bar };
        assert!(timed.line(7, Duration::from_secs(1)).contains(" 25 %, 7 requests, 7/s, 3 s left"));
    }
}
