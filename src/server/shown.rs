//! What others see of a connection's commands: the last one in the list of clients, errors in the figures, slow ones in the slow log.

use super::Shared;
use super::connection::Connection;
use crate::dispatch::run::Ran;
use crate::dispatch::slowlog::is_slow;
use crate::dispatch::table::Entry;
use crate::resp::{Args, Decoded, Decoder, Limits, OwnedArgs};
use crate::session::{ClientInfo, Effect};
use std::sync::Arc;

/// Notes a slow command in the log: its whole name, its words, how long it took in microseconds.
pub(super) fn note_slow(
    shared: &Shared,
    client: &ClientInfo,
    (command, args, duration_us): (&str, Args<'_>, u64),
    by_script: bool,
) {
    let node = &shared.node;
    let sender = || (client.address.to_string(), Arc::clone(&client.labels.lock().name));
    let at_s = node.clock.now_ms() / 1000;
    node.slowlog.note(&node.config, command, args, (duration_us, at_s), (!by_script).then(sender));
}

impl Connection {
    /// What CLIENT LIST shows as the last command.
    pub(super) fn show_command(&mut self, entry: &Entry) {
        if self.last_command != entry.index {
            self.last_command = entry.index;
            self.session.client.labels.lock().command = entry.name;
        }
    }

    /// An error that a script has from one of its commands counts once.
    pub(super) fn hands_on_error(&self, ran: &Ran, start: usize) -> bool {
        let text = self.output.get(start + 1..).unwrap_or_default();
        let errors = ran.effects.iter().filter_map(|effect| match effect {
            Effect::Ran { error, .. } => error.as_deref(),
            Effect::RanMany(tally) => tally.last_error(),
            _ => None,
        });
        errors.into_iter().any(|error| text.starts_with(error))
    }

    /// An error stands in the output from `start` on.
    pub(super) fn note_error(&self, start: usize) {
        let text = self.output.get(start + 1..).unwrap_or_default();
        self.shared.node.stats.error(text.split(|&byte| byte == b'\r').next().unwrap_or_default());
    }

    /// Notes the command that has just run, if it was slow; `request` finds its words.
    pub(super) fn note_if_slow(
        &self,
        entry: &Entry,
        duration_us: u64,
        request: impl FnOnce(&Connection) -> Option<OwnedArgs>,
    ) {
        // DEBUG SLEEP is there to be slow; its reply waits, its worker does not.
        let slept = self.delay.filter(|_| entry.name == "debug").unwrap_or_default();
        let duration_us = duration_us.saturating_add(slept.as_micros() as u64);
        if is_slow(&self.shared.node.config, duration_us)
            && !entry.spec.flags.has(crate::dispatch::spec::Flag::SkipSlowlog)
            && let Some(args) = request(self)
        {
            note_slow(&self.shared, &self.session.client, (entry.name, args.args(), duration_us), false);
        }
    }

    /// The request that was decoded last.
    pub(super) fn decoded_request(&self) -> Option<OwnedArgs> {
        Some(OwnedArgs::from_args(self.decoder.args(self.input.get(self.ahead..)?)))
    }

    /// The request that a member of a group stands for.
    pub(super) fn request_of_member(&self, number: usize) -> Option<OwnedArgs> {
        let limits = Limits { bulk_len_max: self.shared.node.config.bulk_len_max(), authenticated: true };
        let mut rest = self.input.get(..)?;
        let mut before = 0;
        loop {
            let mut decoder = Decoder::new();
            let consumed = match decoder.decode(rest, &limits) {
                Ok(Decoded::Complete { .. }) if before == number => {
                    return Some(OwnedArgs::from_args(decoder.args(rest)));
                }
                Ok(Decoded::Complete { consumed }) => {
                    before += 1;
                    consumed
                }
                Ok(Decoded::Empty { consumed }) => consumed,
                _ => return None,
            };
            rest = rest.get(consumed..)?;
        }
    }
}
