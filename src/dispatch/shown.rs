//! What MONITOR shows of a run, and when.
//!
//! As in Redis a command is shown when it has run, whatever it answered; a script before the commands it calls; what EXEC runs before EXEC;
//! a command that waits when it begins to wait, and not again. Administrators' commands are not shown, secrets neither.
//! A run leaves its lines in its `Call`; they are shown by its commit, under its locks, so that a run that is dropped shows nothing.

use super::Call;
use super::run::Request;
use super::spec::Flag;
use super::table::Entry;
use super::words::without_secrets;
use crate::dispatch::node::Node;
use crate::pubsub::Line;
use crate::resp::Args;
use crate::session::Session;
use std::io::Write;

impl Call<'_> {
    /// This command is about to run: a script is shown now.
    pub fn show_before(&mut self, entry: &Entry) {
        if !self.node.monitors.is_empty() && is_script(entry) {
            self.leave_line(entry);
        }
    }

    /// This command has run.
    pub fn show_after(&mut self, entry: &Entry) {
        if !self.node.monitors.is_empty() && !is_script(entry) && !is_hidden(entry) {
            self.leave_line(entry);
        }
    }

    fn leave_line(&mut self, entry: &Entry) {
        let sender = (!self.from_script).then_some(self.session);
        self.shown.push(line(entry, self.args, self.database, sender));
    }
}

fn is_script(entry: &Entry) -> bool {
    entry.spec.flags.has(Flag::Reaches)
}

fn is_hidden(entry: &Entry) -> bool {
    entry.spec.flags.has(Flag::SkipMonitor) || entry.spec.flags.has(Flag::Admin)
}

/// The line of a request that did not come to its end: it was answered an error, or waits.
pub(super) fn line_of(node: &Node, request: &Request<'_>) -> Vec<Line> {
    let Request { entry, args, session, .. } = *request;
    let is_seen = is_script(entry) || !is_hidden(entry);
    if node.monitors.is_empty() || !is_seen || request.waiter.is_some() {
        return Vec::new();
    }
    vec![line(entry, args, session.database, Some(session))]
}

/// The line of a command; without a session, of a script.
fn line(entry: &Entry, args: Args<'_>, database: u32, session: Option<&Session>) -> Line {
    let words = without_secrets(entry.name, args);
    let mut text = Vec::with_capacity(48 + args.bytes_len() + 3 * args.len());
    // Writing to memory cannot fail.
    let _ = match session {
        Some(session) => write!(text, "[{database} {}]", session.client.address),
        None => write!(text, "[{database} lua]"),
    };
    for word in words {
        text.push(b' ');
        quote(&mut text, word);
    }
    // RESET ends what made its sender see.
    let unseen_by = session.filter(|_| entry.name == "reset").map(|session| session.client.id);
    Line { text, unseen_by }
}

/// A word in quotes, as Redis writes it.
fn quote(out: &mut Vec<u8>, word: &[u8]) {
    out.push(b'"');
    for &byte in word {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            7 => out.extend(b"\\a"),
            8 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_redis_quotes_them() {
        let mut out = Vec::new();
        quote(&mut out, b"a b\\\"\n\r\t\x07\x08\x00\x7f\xc3\xa4~");
        assert_eq!(String::from_utf8_lossy(&out), r#""a b\\\"\n\r\t\a\b\x00\x7f\xc3\xa4~""#);
    }
}
