//! What is to be done with a request, decided without touching data: an error, a place in MULTI's queue, or a run (`run`).

use super::node::Node;
use super::spec::Flag;
use super::table::Entry;
use super::unknown::unknown_text;
use crate::config::DebugCommand;
use crate::keyspace::Error;
use crate::resp::Args;
use crate::session::Session;
use std::sync::atomic::Ordering;

/// What is to be done with a request.
pub enum Prepared<'n> {
    /// Run it.
    Run(&'n Entry),
    /// Put it into MULTI's queue.
    Queue(&'n Entry),
    /// Refuse it with this text (error code first); it may quote bytes of the client.
    Refuse(Option<&'n Entry>, Vec<u8>),
}

/// Decides what to do with a request. Touches no data.
pub fn prepare<'n>(node: &'n Node, session: &Session, args: Args<'_>) -> Prepared<'n> {
    let entry = match node.table.find(args) {
        Ok(entry) => entry,
        Err(unknown) => return Prepared::Refuse(None, unknown_text(unknown, args)),
    };
    let spec = entry.spec;
    if !spec.takes(args.len()) || spec.handler.is_none() {
        return refusal(entry, &Error::Arity(entry.name.into()).to_string());
    }
    if spec.flags.has(Flag::Protected) && !may_run_protected(node, session) {
        return refusal(entry, DEBUG_REFUSED);
    }
    if !may_speak(node, session) && !spec.flags.has(Flag::NoAuth) {
        return refusal(entry, "NOAUTH Authentication required.");
    }
    if session.only_listens() && !LISTENERS_COMMANDS.contains(&entry.name) {
        let allowed =
            "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
        return refusal(entry, &format!("ERR Can't execute '{}': {allowed}", entry.name));
    }
    if session.client.monitors.load(Ordering::Relaxed)
        && [Flag::Write, Flag::ReadOnly, Flag::MayReplicate].into_iter().any(|flag| spec.flags.has(flag))
    {
        return refusal(entry, "ERR Replica can't interact with the keyspace");
    }
    if session.multi.is_some() {
        if spec.flags.has(Flag::NoMulti) {
            return refusal(entry, "ERR Command not allowed inside a transaction");
        }
        if !matches!(entry.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset") {
            return Prepared::Queue(entry);
        }
    }
    if spec.flags.has(Flag::Write)
        && let Some(reason) = node.keyspace.store().failure()
    {
        return refusal(entry, &misconf_text(&reason));
    }
    Prepared::Run(entry)
}

/// What a client of RESP2 with subscriptions may say.
const LISTENERS_COMMANDS: [&str; 9] = [
    "ping",
    "subscribe",
    "unsubscribe",
    "psubscribe",
    "punsubscribe",
    "ssubscribe",
    "sunsubscribe",
    "quit",
    "reset",
];

const DEBUG_REFUSED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you \
                             can run it from a local connection, otherwise you need to set this option in the \
                             configuration file, and then restart the server.";

/// As `enable-debug-command` has it: `no`, `yes`, or `local` for connections over the loopback. DEBUG is the one protected
/// command there is.
fn may_run_protected(node: &Node, session: &Session) -> bool {
    match node.config.enable_debug_command() {
        DebugCommand::Yes => true,
        DebugCommand::Local => session.client.address.ip().to_canonical().is_loopback(),
        DebugCommand::No => false,
    }
}

/// What a write is answered while the log cannot be written, in Redis' words.
pub fn misconf_text(reason: &str) -> String {
    format!("MISCONF Errors writing to the AOF file: {reason}")
}

/// It has given the password, or there is none any more.
pub fn may_speak(node: &Node, session: &Session) -> bool {
    session.authenticated || node.config.requirepass().is_empty()
}

fn refusal<'n>(entry: &'n Entry, text: &str) -> Prepared<'n> {
    Prepared::Refuse(Some(entry), refusal_text(entry, text).into_bytes())
}

/// A refused EXEC ends its transaction, and says so.
pub fn refusal_text(entry: &Entry, text: &str) -> String {
    if entry.name == "exec" {
        format!("EXECABORT Transaction discarded because of: {}", text.strip_prefix("ERR ").unwrap_or(text))
    } else {
        text.to_owned()
    }
}
