//! `tuff bench`: load for any server that speaks Redis' protocol, and what it took to answer it.
//!
//! Threads with non-blocking sockets of their own send commands made from templates and count the replies. In a *closed loop* a
//! connection sends its next requests when the last ones are answered; in an *open loop* (`--rate`) each request has a time at
//! which it is due, whether the server keeps up or not, and its latency counts from then. So a server that stalls cannot hide
//! it by keeping the generator from asking (coordinated omission).
//!
//! Read in this order: `options` (what can be asked for), `keys` and `values` (chance), `template` and `mix` (what is sent),
//! `replies` (where a reply ends), `connection` and `worker` (the loop), `run` (threads and phases), `report`. `limit` is the
//! same measurement without a server. Nothing here knows how Tuff works: it imports `base` only.

mod connection;
pub mod keys;
pub mod limit;
mod mix;
pub mod options;
mod progress;
mod replies;
mod report;
mod run;
mod tally;
mod template;
#[cfg(test)]
mod tests;
mod values;
mod worker;

pub use limit::LimitOptions;
pub use options::Options;

use std::process::ExitCode;

/// Runs what `options` ask for and prints the results; failure when a request failed or nothing could be sent.
pub fn bench(options: &Options) -> ExitCode {
    let outcomes = match run::phases(options) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            eprintln!("tuff bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    let text = match options.json {
        true => report::json(&outcomes),
        false => report::table(options, &outcomes),
    };
    print!("{text}");
    match outcomes.iter().all(|outcome| outcome.tally.failures() == 0) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
