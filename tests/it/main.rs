//! The integration tests: one binary that starts real servers and talks to them over loopback.
//!
//! Two servers take part: the *subject* (Tuff, as built by cargo) and the *oracle* (a real redis-server 8.2). What Tuff
//! should answer is never written by hand: transcripts are recorded from the oracle, random commands are sent to both, and
//! the command table is compared with the oracle's. Setting `TUFF_SUBJECT=oracle` makes the oracle play both parts, which
//! tests the tests. The other settings are named where they are read: `TUFF_RECORD`, `TUFF_TRANSCRIPT`, `TUFF_SEED`,
//! `TUFF_DIFF_COMMANDS`, `TUFF_DIFF_FAMILIES`, `TUFF_DIFF_WITHOUT`, `TUFF_CRASH_ROUNDS`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod bench;
mod busy;
mod chance;
mod client;
mod collections;
mod crash;
mod differential;
mod events;
mod functions;
mod large_results;
mod layers;
mod observe;
mod protocol;
mod pubsub;
mod run;
mod server;
mod start;
mod table;
mod tracking;
mod transcript;
mod value;
