//! Who gets which messages: channels, shard channels and patterns on one side, connections' outboxes on the other.
//!
//! A connection that is sent things unasked has an [`Outbox`]. Its set of subscriptions there is the truth; the [`registry`] is the
//! way back from a channel to its outboxes. A message is encoded once and shared by all who get it. All messages have one
//! order, the same for every subscriber: they pass the [`post`], in which a few receivers are served at once and many are
//! left to a carrier, in slices, off the workers.
//!
//! Nobody ever waits for a subscriber: one that falls behind further than `client-output-buffer-limit pubsub` allows is cut.
//!
//! Locks: the post, then an outbox; a shard of the registry, the patterns: each alone. No lock is held while a connection is woken, but for one that is cut.

mod message;
mod monitors;
mod outbox;
mod post;
mod registry;

pub use message::Message;
pub use monitors::{Line, Monitors};
pub use outbox::{Item, Outbox, Standing};
pub use post::Receipt;

use crate::base::clock::Clock;
use crate::config::{ClientClass, Config};
use post::{Delivery, Post};
use registry::Registry;
use smallvec::SmallVec;
use std::sync::Arc;

/// What a subscription names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A channel (SUBSCRIBE).
    Channel = 0,
    /// A pattern of channels (PSUBSCRIBE).
    Pattern = 1,
    /// A shard channel (SSUBSCRIBE).
    Shard = 2,
}

/// The name of a channel or a pattern.
pub type Name = Arc<[u8]>;

/// Up to where the log must be flushed before a message may be shown, and the opening of the store that the number belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rests {
    /// The highest sequence that the message could tell of; 0: it tells of none.
    pub sequence: u64,
    /// The opening of the store.
    pub epoch: u64,
}

/// The subscriptions of a server, and its messages on their way.
pub struct PubSub {
    registry: Registry,
    post: Post,
    config: Arc<Config>,
    clock: Clock,
}

impl PubSub {
    /// Without subscribers.
    pub fn new(config: Arc<Config>, clock: Clock) -> PubSub {
        PubSub { registry: Registry::default(), post: Post::default(), config, clock }
    }

    /// Begins a subscription; nothing if it is there.
    pub fn subscribe(&self, outbox: &Arc<Outbox>, kind: Kind, name: &[u8]) {
        let name = self.registry.name(kind, name);
        if outbox.insert(kind, &name) {
            self.registry.insert(kind, name, outbox);
        }
    }

    /// Ends a subscription: no message of it reaches the outbox from now on.
    pub fn unsubscribe(&self, outbox: &Arc<Outbox>, kind: Kind, name: &[u8]) {
        if outbox.remove(kind, name) {
            self.registry.remove(kind, name, outbox);
        }
    }

    /// Ends all subscriptions of a connection.
    pub fn unsubscribe_all(&self, outbox: &Arc<Outbox>) {
        for (kind, name) in outbox.take_all() {
            self.registry.remove(kind, &name, outbox);
        }
    }

    /// How many messages a publication would be now: a connection counts for its channel and for each matching pattern.
    pub fn receivers(&self, kind: Kind, channel: &[u8]) -> usize {
        let mut count = 0;
        self.registry.for_receivers(kind, channel, |_, members| count += members.len());
        count
    }

    /// Sends a message to all who listen now. A receipt when it is still on its way: whoever publishes much waits for that.
    pub fn publish(&self, kind: Kind, channel: &[u8], payload: &[u8], rests: Rests) -> Option<Receipt> {
        let mut deliveries: SmallVec<[Delivery; 2]> = SmallVec::new();
        self.registry.for_receivers(kind, channel, |pattern, members| {
            let message = match pattern {
                Some(pattern) => Message::by_pattern(pattern, channel, payload),
                None => Message::by_channel(kind, channel, payload),
            };
            let (kind, name) = match pattern {
                Some(pattern) => (Kind::Pattern, Arc::clone(pattern)),
                None => (kind, channel.into()),
            };
            deliveries.push(Delivery::new(kind, name, message, rests, Arc::clone(members)));
        });
        if deliveries.is_empty() {
            return None;
        }
        self.post.send(deliveries, &self.standing())
    }

    /// Waits until a publication has reached all its receivers.
    pub async fn delivered(&self, receipt: Receipt) {
        self.post.delivered(receipt).await;
    }

    /// What to wait for before causing more messages, if too many are on their way.
    pub fn overdue(&self) -> Option<Receipt> {
        self.post.overdue()
    }

    /// Carries what is too much for the publishers themselves. Runs as long as the server.
    pub async fn carry(&self) {
        loop {
            self.post.called().await;
            while self.post.carry_slice(&self.standing()) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// What an outbox must keep to, as of now.
    pub fn standing(&self) -> Standing<'_> {
        Standing { limit: self.config.output_limit(ClientClass::Pubsub), clock: &self.clock }
    }

    /// The channels or patterns somebody listens to, in no order.
    pub fn names(&self, kind: Kind) -> Vec<Name> {
        self.registry.names(kind)
    }

    /// How many channels or patterns somebody listens to.
    pub fn count(&self, kind: Kind) -> usize {
        self.registry.count(kind)
    }

    /// Connections that listen to a channel (not by pattern).
    pub fn subscribers(&self, kind: Kind, channel: &[u8]) -> usize {
        self.registry.members(kind, channel).map_or(0, |members| members.len())
    }
}

#[cfg(test)]
mod tests;
