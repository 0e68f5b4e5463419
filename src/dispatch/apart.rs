//! A command run within another one, of EXEC or of a script: its failure is its own.

use super::{Call, Handler};
use crate::keyspace::{Outcome, Stop, TimeoutReply};
use crate::resp::Reply;

/// Runs a command such that, when it fails, its writes, effects and reply are taken back and the error is its reply. One that would
/// wait answers at once as if its time were up. Any other stop ends the whole run.
pub fn run_apart(call: &mut Call<'_>, handler: Handler, reply: &mut Reply<'_>) -> Outcome {
    let (before, effects_len, reply_len) = (call.txn.savepoint(), call.effects.len(), reply.len());
    let stop = match handler(call, reply) {
        Ok(()) => return Ok(()),
        Err(stop @ (Stop::Error(_) | Stop::Wait(_))) => stop,
        Err(stop) => return Err(stop),
    };
    call.txn.rewind_failed(&before);
    call.effects.truncate(effects_len);
    reply.truncate(reply_len);
    match stop {
        Stop::Error(error) => reply.error_bytes(&error.to_bytes()),
        Stop::Wait(wait) => match wait.on_timeout {
            TimeoutReply::NullArray => reply.null_array(),
            TimeoutReply::Null => reply.null(),
        },
        _ => {}
    }
    Ok(())
}

/// The text of a reply that is an error.
pub fn error_in(reply: &[u8]) -> Option<Box<[u8]>> {
    reply.strip_prefix(b"-")?.split(|&byte| byte == b'\r').next().map(Box::from)
}
