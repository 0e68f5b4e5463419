//! MONITOR: this connection is shown every command from now on. What is shown is decided in `dispatch::shown`.

use crate::dispatch::spec::Flag::{Admin, Loading, NoScript, Stale};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::keyspace::{Outcome, fail};
use crate::resp::Reply;
use crate::session::Effect;
use std::sync::atomic::Ordering;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([Command::new("monitor", monitor)
    .arity(1)
    .flags(&[Admin, NoScript, Loading, Stale])
    .group(Group::Server)
    .since("1.0.0")
    .complexity("")
    .summary("Shows every command the server gets, as it comes.")]);

fn monitor(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.in_exec {
        return fail("ERR MONITOR isn't allowed for DENY BLOCKING client");
    }
    // Who watches already is told nothing.
    if !call.session.client.monitors.load(Ordering::Relaxed) {
        call.effects.push(Effect::Monitor);
        reply.ok();
    }
    Ok(())
}
