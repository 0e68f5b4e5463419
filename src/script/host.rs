//! What a script may ask of the world: commands, leave to go on, lines in the log.
//!
//! A [`Host`] is whoever runs the script; the engine knows nothing of commands, keys or connections behind it. The host can end
//! a run at any call: see [`Stop`]. The engine then unwinds the whole script, past every `pcall`, and says so to its caller.

use crate::resp::Proto;

/// Why a host ends a run before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Drop this run: the host knows why (rows that are only on disk, a held lock, too much work), and
    /// the script will be run again from its start. Nothing is written to the reply.
    Again,
    /// SCRIPT KILL or FUNCTION KILL: the client is told so by an error.
    Kill,
}

/// How urgent a line for the log is, in Redis' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `redis.LOG_DEBUG`, 0.
    Debug,
    /// `redis.LOG_VERBOSE`, 1.
    Verbose,
    /// `redis.LOG_NOTICE`, 2.
    Notice,
    /// `redis.LOG_WARNING`, 3.
    Warning,
}

/// The one who runs a script and answers its calls.
pub trait Host {
    /// `redis.call` or `redis.pcall`: runs the command in `words` (at least one), appends its reply to
    /// `out`, written in `proto` (what `redis.setresp` has chosen). A refused command is an error reply.
    fn call(&mut self, words: &[&[u8]], proto: Proto, out: &mut Vec<u8>) -> Result<(), Stop>;

    /// Asked every [`super::TICK_INSTRUCTIONS`] instructions whether the script may go on.
    fn tick(&mut self) -> Result<(), Stop>;

    /// The state in which `math.random` begins, of which 48 bits count; asked when the script draws its first number without
    /// having set a seed. A script that is run again should begin with the same.
    fn seed(&mut self) -> u64;

    /// `redis.acl_check_cmd`: whether the user may run the command; nothing if there is no such command.
    fn may_run(&mut self, words: &[&[u8]]) -> Option<bool>;

    /// `redis.log`: a line for the log. It is written even if this run is dropped later.
    fn log(&mut self, level: LogLevel, text: &[u8]);

    /// `redis.set_repl`: where the writes that follow are to be sent; bit 0 the log, bit 1 the replicas.
    fn set_propagation(&mut self, _bits: u8) {}
}
