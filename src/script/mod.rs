//! Lua scripts and functions: the engines of EVAL and FCALL, without a word about commands, keys or connections.
//!
//! [`Engine`] compiles and runs a [`Script`]; what the script asks of Redis goes through a [`Host`], as words to a reply in
//! bytes. Inside, from the outside in: [`engine`] keeps compiled scripts, `interpreter` owns a Lua state and runs one
//! script, `sandbox` is what a script finds there: `redis_api` (the table `redis`), `shims` (Lua's functions that needed
//! another behaviour), `libraries` (cjson, cmsgpack, struct, bit). `vm` is the ground they stand on: the run in progress,
//! errors, stops; `from_resp` and `to_resp` turn replies into values and back.
//!
//! [`Functions`] is the same for functions: it loads their libraries (`library`, `register`) and calls them, in an interpreter of
//! its own.
//!
//! The Lua is PUC's 5.1, as in Redis: its count hook can stop an endless loop.

mod bits;
pub mod cache;
mod cjson;
mod cmsgpack;
pub mod engine;
mod from_resp;
mod functions;
#[cfg(test)]
mod functions_tests;
pub mod host;
mod interpreter;
mod json_config;
mod json_decode;
mod libraries;
pub mod library;
mod random;
#[cfg(test)]
mod recorded;
mod redis_api;
mod register;
mod sandbox;
mod shims;
pub mod source;
mod structs;
#[cfg(test)]
mod tests;
mod to_resp;
mod vm;

pub use cache::Scripts;
pub use engine::Engine;
pub use functions::{Callee, Functions, NewFunction};
pub use host::{Host, LogLevel, Stop};
pub use interpreter::{LoadError, Outcome};
pub use library::Shebang;
pub use source::{Flags, Script, Sha};

/// After this many instructions of Lua the host is asked whether to go on.
pub const TICK_INSTRUCTIONS: i32 = 1000;
