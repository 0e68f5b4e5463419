//! A connection whose next command CLIENT PAUSE holds back.
//!
//! The request stays in the buffer, not begun; the connection waits without a lock and without a timer of its own but for the
//! pause's end, and then looks again. What it is sent unasked reaches it meanwhile.

use super::connection::{Connection, pause_for};
use super::messages::filled;
use crate::dispatch::pauses::held_until_ms;
use crate::dispatch::prepare::{Prepared, prepare};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Connection {
    /// Whether the request just decoded is held back. What would be refused is not, nor is a monitor.
    pub(super) fn is_held_back(&self) -> bool {
        let node = &self.shared.node;
        if !node.pauses.may_be_on() || self.session.client.monitors.load(Ordering::Relaxed) {
            return false;
        }
        let args = self.decoder.args(&self.input[self.ahead..]);
        let entry = match prepare(node, &self.session, args) {
            Prepared::Run(entry) | Prepared::Queue(entry) => entry,
            Prepared::Refuse(..) => return false,
        };
        held_until_ms(node, &self.session, entry, args).is_some()
    }

    /// Waits until the pause is over or another one, or the client has gone. Requests that arrive meanwhile are kept for later.
    pub(super) async fn wait_for_unpause(&mut self) -> io::Result<()> {
        self.flush_with_messages().await?;
        let client = Arc::clone(&self.session.client);
        client.postponed.store(true, Ordering::Relaxed);
        let ended = self.wait_for_end_of_pause().await;
        client.postponed.store(false, Ordering::Relaxed);
        ended
    }

    async fn wait_for_end_of_pause(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let client = Arc::clone(&self.session.client);
        let (pauses, clock) = (&shared.node.pauses, &shared.node.clock);
        let room = shared.node.config.query_buffer_bytes_max();
        let mut changed = std::pin::pin!(pauses.changed());
        changed.as_mut().enable();
        while let Some((_, until_ms)) = pauses.current(clock.now_ms()) {
            let left = Duration::from_millis(until_ms.saturating_sub(clock.now_ms()));
            let may_read = self.input.len() < room;
            tokio::select! {
                biased;
                () = client.ended() => return Err(io::ErrorKind::ConnectionAborted.into()),
                () = &mut changed => break,
                () = filled(&client) => self.flush_with_messages().await?,
                read = self.read_some(), if may_read => if read? == 0 {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                },
                () = pause_for(left) => {}
            }
        }
        Ok(())
    }
}
