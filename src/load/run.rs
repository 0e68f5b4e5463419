//! A bench as a whole: its phases (loading, then the run), each with its threads and their connections.

use super::connection::{Connection, Target};
use super::keys::{Counters, Pattern, Picker};
use super::mix::Mix;
use super::options::Options;
use super::progress::Progress;
use super::tally::{Lane, Tally};
use super::template::Shape;
use super::worker::{Shared, Worker};
use crate::base::random::Rng;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often the progress bar is drawn anew.
const REDRAW: Duration = Duration::from_millis(200);

/// One phase, as it shall be.
pub struct Phase {
    /// `load` or `run`.
    pub name: &'static str,
    /// What is sent.
    pub mix: Mix,
    /// How placeholders are filled in.
    pub shape: Shape,
    /// How keys are chosen.
    pub pattern: Pattern,
    /// Keys there are.
    pub keys: u64,
    /// Requests under way on one connection, at most.
    pub depth: usize,
    /// Requests in all.
    pub requests: Option<u64>,
    /// No request is sent after this.
    pub until_ns: Option<u64>,
    /// Requests per second of an open loop; a closed loop has none.
    pub rate: Option<f64>,
    /// Without a reply for this long, it ends.
    pub patience_ns: u64,
}

/// One phase, as it was.
pub struct Outcome {
    /// `load` or `run`.
    pub name: &'static str,
    /// The commands of the mix, in the order of the tally's.
    pub commands: Vec<String>,
    /// From the first request to the last reply.
    pub seconds: f64,
    /// All threads' figures.
    pub tally: Tally,
}

/// Runs the phases that `options` ask for, one after the other; ends with the first that fails.
pub fn phases(options: &Options) -> Result<Vec<Outcome>, String> {
    let mut outcomes = Vec::new();
    for phase in options.phases()? {
        let outcome = run(&phase, &options.target(), options)?;
        let failed = outcome.tally.failures() > 0;
        outcomes.push(outcome);
        if failed {
            break;
        }
    }
    Ok(outcomes)
}

/// Runs one phase.
pub fn run(phase: &Phase, target: &Target, options: &Options) -> Result<Outcome, String> {
    let lanes = options.connections.max(1);
    let threads = options.threads.clamp(1, lanes);
    let mut shares: Vec<Vec<Connection>> = (0..threads).map(|_| Vec::new()).collect();
    for number in 0..lanes {
        let mut connection = Connection::open(target)?;
        if let (Some(rate), Some(requests)) = (phase.rate, phase.requests) {
            connection.lane = Some(Lane::new(number.into(), lanes.into(), requests, rate));
        }
        shares[(number % threads) as usize].push(connection);
    }
    let counters = Counters { newest: phase.keys.into(), ..Counters::default() };
    let (shared, mut seeds) = (Shared::default(), Rng::new(options.seed));
    let (sender, receiver) = mpsc::channel();
    let origin = Instant::now();
    let mut tally = Tally::new(phase.mix.commands.len())?;
    std::thread::scope(|scope| {
        for connections in shares {
            let picker = Picker::new(phase.pattern, phase.keys, &counters);
            let worker =
                Worker::new(phase, &shared, connections, picker, Rng::new(seeds.next_u64()), origin)?;
            let sender = sender.clone();
            // The receiver is gone only when another thread has failed and nobody wants the figures.
            scope.spawn(move || drop(sender.send(worker.run())));
        }
        drop(sender);
        let mut progress = Progress::new(phase, options.is_quiet());
        loop {
            match receiver.recv_timeout(REDRAW) {
                Ok(of_thread) => tally.add(&of_thread?)?,
                Err(RecvTimeoutError::Timeout) => progress.draw(&shared, origin.elapsed()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        progress.clear();
        Ok::<(), String>(())
    })?;
    let commands = phase.mix.commands.iter().map(|(name, _)| name.clone()).collect();
    Ok(Outcome { name: phase.name, commands, seconds: tally.last_ns as f64 / 1e9, tally })
}
