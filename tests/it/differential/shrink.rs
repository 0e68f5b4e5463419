//! Finds a short list of commands that still shows a difference.
//!
//! First only the last few commands before the failure are tried, then ten times as many, and so on: what broke is often near.
//! From there, delta debugging: leave out halves, quarters, ... single commands, as long as what is left still fails (in
//! whatever way: a different failure of a shorter list is as good). Every try plays the list from empty databases.

use super::{Failure, Pair, Step};
use std::time::{Duration, Instant};

/// How long to go on; then what was found so far is shown.
const TIME_MAX_S: u64 = 90;

/// The shortest failing list found, and its failure. `steps` failed with `failure`.
pub fn shrink(pair: &mut Pair, mut steps: Vec<Step>, failure: Failure) -> (Vec<Step>, Failure) {
    let limit = Instant::now() + Duration::from_secs(TIME_MAX_S);
    steps.truncate(failure.at + 1);
    let mut best = (steps, failure);

    let mut suffix = 5;
    while suffix < best.0.len() {
        let tail = best.0[best.0.len() - suffix..].to_vec();
        if let Some(shorter) = fails(pair, tail) {
            best = shorter;
            break;
        }
        suffix *= 5;
    }

    let mut chunk = best.0.len().div_ceil(2);
    while chunk > 0 && Instant::now() < limit {
        let mut start = 0;
        let mut was_shorter = false;
        while start < best.0.len() && Instant::now() < limit {
            let mut rest = best.0.clone();
            rest.drain(start..(start + chunk).min(rest.len()));
            match fails(pair, rest) {
                Some(shorter) => {
                    best = shorter;
                    was_shorter = true;
                }
                None => start += chunk,
            }
        }
        // Single commands are gone over until none can be left out.
        chunk = if chunk == 1 && was_shorter { 1 } else { chunk / 2 };
    }
    best
}

/// The list, cut behind its failure, when it fails.
fn fails(pair: &mut Pair, mut steps: Vec<Step>) -> Option<(Vec<Step>, Failure)> {
    let failure = pair.play(&steps)?;
    steps.truncate(failure.at + 1);
    Some((steps, failure))
}
