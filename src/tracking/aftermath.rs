//! What commits have done becomes messages: keyspace events for those who listen to them, changed keys for those who cache them.
//!
//! Called under the commit's stripes: messages are put where they belong in the order of the commits, and nothing is waited for. A
//! message is shown when what it tells of is as safe as a reply would have to be (`pubsub::Rests`).

use super::Tracking;
use crate::keyspace::events::{Events, Listener, Note, Told};
use crate::pubsub::{Kind, PubSub, Rests};
use std::io::Write;
use std::sync::Arc;

/// Tells of commits by messages.
pub struct Aftermath {
    pubsub: Arc<PubSub>,
    tracking: Arc<Tracking>,
}

impl Aftermath {
    /// For a server's listeners and trackers.
    pub fn new(pubsub: Arc<PubSub>, tracking: Arc<Tracking>) -> Aftermath {
        Aftermath { pubsub, tracking }
    }
}

fn rests(told: Told) -> Rests {
    Rests { sequence: told.sequence, epoch: told.epoch }
}

impl Listener for Aftermath {
    fn events(&self, notes: &[Note], wanted: Events, told: Told) {
        if self.pubsub.count(Kind::Channel) == 0 && self.pubsub.count(Kind::Pattern) == 0 {
            return;
        }
        let mut channel = Vec::new();
        for note in notes {
            if wanted.has(Events::BY_KEY) {
                name_channel(&mut channel, "keyspace", note.database, &note.key);
                self.pubsub.publish(Kind::Channel, &channel, note.event.as_bytes(), rests(told));
            }
            if wanted.has(Events::BY_EVENT) {
                name_channel(&mut channel, "keyevent", note.database, note.event.as_bytes());
                self.pubsub.publish(Kind::Channel, &channel, &note.key, rests(told));
            }
        }
    }

    fn changed(&self, keys: &mut dyn Iterator<Item = &[u8]>, told: Told) {
        self.tracking.invalidate(keys, told.author, rests(told));
    }

    fn all_changed(&self, told: Told) {
        self.tracking.invalidate_all(rests(told));
    }
}

/// Makes `__<kind>@<database>__:<name>`.
fn name_channel(channel: &mut Vec<u8>, kind: &str, database: u32, name: &[u8]) {
    channel.clear();
    // Writing to memory does not fail.
    let _ = write!(channel, "__{kind}@{database}__:");
    channel.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_as_redis_names_them() {
        let mut channel = b"before".to_vec();
        name_channel(&mut channel, "keyspace", 12, b"my key");
        assert_eq!(channel, b"__keyspace@12__:my key");
    }
}
