//! What a connection is sent unasked: from its outbox to its socket, in the right place among its replies.
//!
//! Messages come behind the reply of the command that was run last, so behind that of the connection's own PUBLISH; what an ended
//! subscription brought comes before the reply that says it has ended, and nothing of it after. What a message tells of must be
//! as safe as what a reply tells of: it is let go by the same `flush`.

use super::connection::Connection;
use crate::pubsub::{Item, Kind, Outbox, Rests};
use crate::session::{ClientInfo, SubscriptionChange};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

/// Messages taken at a time, in bytes: what a slow client has got for itself.
const HELPING_BYTES: usize = 64 << 10;
/// A message larger than this is sent from where it lies, shared with all its receivers.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// Waits until a client is to be sent something; for ever if it never is. Whoever makes its outbox meanwhile wakes it.
pub(super) async fn filled(client: &ClientInfo) {
    poll_fn(|context| match client.outbox() {
        Some(outbox) => outbox.poll_filled(context),
        None => Poll::Pending,
    })
    .await;
}

impl Connection {
    /// Applies SUBSCRIBE and its kin.
    pub(super) fn change_subscriptions(&mut self, changes: Vec<SubscriptionChange>) {
        let shared = Arc::clone(&self.shared);
        let pubsub = &shared.node.pubsub;
        for SubscriptionChange { kind, name, begins } in changes {
            if begins {
                pubsub.subscribe(self.session.client.make_outbox(), kind, &name);
            } else if let Some(outbox) = self.session.client.outbox() {
                pubsub.unsubscribe(outbox, kind, &name);
                self.has_left = true;
            }
        }
    }

    /// Sends a message; it tells of what the connection has seen and written since its last flush.
    pub(super) fn publish(&mut self, kind: Kind, channel: &[u8], payload: &[u8]) {
        let rests = Rests { sequence: self.sequence, epoch: self.epoch };
        let receipt = self.shared.node.pubsub.publish(kind, channel, payload, rests);
        self.posted = receipt.or(self.posted);
    }

    /// Waits until the connection's own messages have reached everybody: it cannot send faster than they are taken along.
    pub(super) async fn wait_for_post(&mut self) {
        if let Some(receipt) = self.posted.take() {
            let shared = Arc::clone(&self.shared);
            shared.node.pubsub.delivered(receipt).await;
        }
    }

    /// Messages to go behind the replies so far, as many as go at a time.
    pub(super) fn collect_messages(&mut self) {
        let Some(outbox) = self.waiting_outbox() else { return };
        // Replies of a group that stalls are taken back, with what stands behind them.
        if !self.settle() {
            return;
        }
        let end = self.output.len() + HELPING_BYTES;
        while self.output.len() < end
            && let Some(item) = outbox.take_if(|item| item.message.len() <= COPIED_BYTES_MAX)
        {
            self.append(&item);
        }
    }

    /// All messages there are, to go before the reply that begins at `start`. Gives where it begins then.
    pub(super) fn collect_messages_before(&mut self, start: usize) -> usize {
        let Some(outbox) = self.waiting_outbox() else { return start };
        let reply = self.output.split_off(start.min(self.output.len()));
        while let Some(item) = outbox.take_if(|_| true) {
            self.append(&item);
        }
        let start = self.output.len();
        self.output.extend_from_slice(&reply);
        start
    }

    /// Lets replies and messages go.
    pub(super) async fn flush_with_messages(&mut self) -> io::Result<()> {
        loop {
            self.collect_messages();
            self.flush().await?;
            let Some(outbox) = self.session.client.outbox().cloned() else { return Ok(()) };
            if !self.output.is_empty() || !self.sending.is_over() {
                // What RocksDB stalled is run again before anything else is sent, and so is a command that was fed.
                return Ok(());
            }
            outbox.sent();
            let large = outbox.take_if(|item| item.message.len() > COPIED_BYTES_MAX);
            let Some(item) = large else { return Ok(()) };
            if let Some(first) = self.first_byte(&item) {
                self.output.push(first);
                self.has_retracted = false;
                self.flush().await?;
                if !self.has_retracted {
                    self.send_bytes(item.message.parts(item.proto).1).await?;
                }
            }
        }
    }

    /// Within a burst: once nothing is left in the output, the messages that were in it have been sent.
    pub(super) fn note_messages_sent(&self) {
        if self.output.is_empty()
            && self.sending.is_over()
            && let Some(outbox) = self.session.client.outbox()
        {
            outbox.sent();
        }
    }

    fn waiting_outbox(&self) -> Option<Arc<Outbox>> {
        let outbox = self.session.client.outbox()?;
        (outbox.is_waiting() && !self.closing).then(|| Arc::clone(outbox))
    }

    fn append(&mut self, item: &Item) {
        if let Some(first) = self.first_byte(item) {
            self.output.push(first);
            self.output.extend_from_slice(item.message.parts(item.proto).1);
        }
    }

    /// The first byte of a message, and what it rests on noted; nothing when what it tells of may be lost.
    fn first_byte(&mut self, item: &Item) -> Option<u8> {
        if item.rests.sequence > 0 {
            let epoch = self.shared.node.keyspace.store().epoch();
            if item.rests.epoch != epoch {
                return None;
            }
            self.sequence = self.sequence.max(item.rests.sequence);
            self.epoch = if self.epoch == 0 || self.epoch == epoch { epoch } else { u64::MAX };
        }
        Some(item.message.parts(item.proto).0)
    }
}
