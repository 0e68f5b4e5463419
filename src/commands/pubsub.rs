//! SUBSCRIBE and PUBLISH, by channel, pattern and shard channel; PUBSUB.
//!
//! A subscription is an effect: it begins when its reply is certain. What is told meanwhile (the counts in the replies, PUBLISH within
//! EXEC) adds the effects so far to what the connection's outbox has. A message is an effect, too, so a command that runs twice says
//! it once; how many hear it is counted when the reply is written.

use crate::base::glob::glob_match;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{Fast, Loading, MayReplicate, NoScript, PubSub, Stale};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command, docs};
use crate::keyspace::{Error, Outcome, fail};
use crate::pubsub::{Kind, Name, Outbox};
use crate::resp::Reply;
use crate::session::{ClientKind, Effect, SubscriptionChange};
use ahash::AHashMap;
use std::sync::Arc;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("psubscribe", psubscribe)
        .arity(-2)
        .flags(&[PubSub, NoScript, Loading, Stale])
        .group(Group::PubSub)
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Gets the messages of all channels whose names match.")
        .syntax("pattern:pattern..."),
    Command::new("publish", publish)
        .arity(3)
        .flags(&[PubSub, Loading, Stale, Fast, MayReplicate])
        .group(Group::PubSub)
        .since("2.0.0")
        .complexity("O(N+M)")
        .summary("Sends a message to a channel.")
        .syntax("channel message"),
    Command::container("pubsub", PUBSUB_SUBCOMMANDS)
        .group(Group::PubSub)
        .since("2.8.0")
        .summary("Who listens to which channel."),
    Command::new("punsubscribe", punsubscribe)
        .arity(-1)
        .flags(&[PubSub, NoScript, Loading, Stale])
        .group(Group::PubSub)
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Ends listening by patterns.")
        .syntax("[pattern:pattern...]"),
    Command::new("spublish", spublish)
        .arity(3)
        .flags(&[PubSub, Loading, Stale, Fast, MayReplicate])
        .keys(&[KeySpec::not_key(1)])
        .group(Group::PubSub)
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Sends a message to a shard channel.")
        .syntax("shardchannel message"),
    Command::new("ssubscribe", ssubscribe)
        .arity(-2)
        .flags(&[PubSub, NoScript, Loading, Stale])
        .keys(&[KeySpec::not_key(1).to(-1)])
        .group(Group::PubSub)
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Gets the messages of shard channels.")
        .syntax("shardchannel..."),
    Command::new("subscribe", subscribe)
        .arity(-2)
        .flags(&[PubSub, NoScript, Loading, Stale])
        .group(Group::PubSub)
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Gets the messages of channels.")
        .syntax("channel..."),
    Command::new("sunsubscribe", sunsubscribe)
        .arity(-1)
        .flags(&[PubSub, NoScript, Loading, Stale])
        .keys(&[KeySpec::not_key(1).to(-1)])
        .group(Group::PubSub)
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Ends listening to shard channels.")
        .syntax("[shardchannel...]"),
    Command::new("unsubscribe", unsubscribe)
        .arity(-1)
        .flags(&[PubSub, NoScript, Loading, Stale])
        .group(Group::PubSub)
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Ends listening to channels.")
        .syntax("[channel...]"),
]);

const PUBSUB_SUBCOMMANDS: &[Command] = &[
    Command::new("channels", pubsub_channels)
        .arity(-2)
        .flags(&[PubSub, Loading, Stale])
        .group(Group::PubSub)
        .since("2.8.0")
        .complexity("O(N)")
        .summary("Lists the channels somebody listens to.")
        .syntax("[pattern:pattern]"),
    Command::new("help", pubsub_help)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::PubSub)
        .acl(&[])
        .since("6.2.0")
        .summary("Lists what PUBSUB can do."),
    Command::new("numpat", pubsub_numpat)
        .arity(2)
        .flags(&[PubSub, Loading, Stale])
        .group(Group::PubSub)
        .since("2.8.0")
        .summary("Counts the patterns somebody listens to."),
    Command::new("numsub", pubsub_numsub)
        .arity(-2)
        .flags(&[PubSub, Loading, Stale])
        .group(Group::PubSub)
        .since("2.8.0")
        .complexity("O(N)")
        .summary("Counts the listeners of channels.")
        .syntax("[channel...]"),
    Command::new("shardchannels", pubsub_shardchannels)
        .arity(-2)
        .flags(&[PubSub, Loading, Stale])
        .group(Group::PubSub)
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Lists the shard channels somebody listens to.")
        .syntax("[pattern:pattern]"),
    Command::new("shardnumsub", pubsub_shardnumsub)
        .arity(-2)
        .flags(&[PubSub, Loading, Stale])
        .group(Group::PubSub)
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Counts the listeners of shard channels.")
        .syntax("[shardchannel...]"),
];

/// Whether the connection listens to anything at this command.
pub(super) fn listens(call: &Call<'_>) -> bool {
    if !call.in_exec {
        return call.session.client.kind() == ClientKind::PubSub;
    }
    Own::of(call).counts.iter().any(|&count| count > 0)
}

/// A connection's subscriptions as they are at this command: within EXEC those before it have changed them.
struct Own {
    outbox: Option<Arc<Outbox>>,
    pending: [AHashMap<Name, bool>; 3],
    counts: [usize; 3],
}

impl Own {
    fn of(call: &Call<'_>) -> Own {
        let client = &call.session.client;
        let mut own = Own {
            outbox: client.outbox().cloned(),
            pending: Default::default(),
            counts: [Kind::Channel, Kind::Pattern, Kind::Shard].map(|kind| client.subscriptions(kind)),
        };
        for effect in &call.effects {
            match effect {
                Effect::Subscriptions(changes) => {
                    changes.iter().for_each(|change| own.set(change.kind, &change.name, change.begins));
                }
                Effect::Reset => own = Own { outbox: None, pending: Default::default(), counts: [0; 3] },
                _ => {}
            }
        }
        own
    }

    fn was(&self, kind: Kind, name: &[u8]) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.has(kind, name))
    }

    fn set(&mut self, kind: Kind, name: &Name, on: bool) {
        let before = self.pending[kind as usize].insert(Arc::clone(name), on);
        if before.unwrap_or_else(|| self.was(kind, name)) != on {
            let count = &mut self.counts[kind as usize];
            *count = if on { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// The number in the reply: shard channels count apart.
    fn told(&self, kind: Kind) -> i64 {
        let counts = match kind {
            Kind::Shard => self.counts[Kind::Shard as usize],
            _ => self.counts[Kind::Channel as usize] + self.counts[Kind::Pattern as usize],
        };
        counts as i64
    }

    /// All subscriptions of a kind.
    fn names(&self, kind: Kind) -> Vec<Name> {
        let pending = &self.pending[kind as usize];
        let mut names = self.outbox.as_ref().map(|outbox| outbox.names(kind)).unwrap_or_default();
        names.retain(|name| !pending.contains_key(name));
        names.extend(pending.iter().filter(|(_, on)| **on).map(|(name, _)| Arc::clone(name)));
        names
    }

    /// By how much the commands before this one change who gets a message.
    fn receivers_more(&self, kind: Kind, channel: &[u8]) -> i64 {
        let change = |kind, name: &Name, on: bool| i64::from(on) - i64::from(self.was(kind, name));
        let mut more = self.pending[kind as usize]
            .get_key_value(channel)
            .map_or(0, |(name, &on)| change(kind, name, on));
        if kind == Kind::Channel {
            for (pattern, &on) in &self.pending[Kind::Pattern as usize] {
                if glob_match(pattern, channel, false) {
                    more += change(Kind::Pattern, pattern, on);
                }
            }
        }
        more
    }
}

fn begin(call: &mut Call<'_>, reply: &mut Reply<'_>, kind: Kind, word: &str) -> Outcome {
    let mut own = Own::of(call);
    let mut changes = Vec::with_capacity(call.args.len());
    for name in call.args.iter().skip(1) {
        let name: Name = name.into();
        own.set(kind, &name, true);
        reply.push(3);
        reply.bulk_str(word);
        reply.bulk(&name);
        reply.integer(own.told(kind));
        changes.push(SubscriptionChange { kind, name, begins: true });
    }
    call.effects.push(Effect::Subscriptions(changes));
    Ok(())
}

fn end(call: &mut Call<'_>, reply: &mut Reply<'_>, kind: Kind, word: &str) -> Outcome {
    let mut own = Own::of(call);
    let names = match call.args.len() {
        1 => own.names(kind),
        _ => call.args.iter().skip(1).map(Name::from).collect(),
    };
    if names.is_empty() {
        reply.push(3);
        reply.bulk_str(word);
        reply.null();
        reply.integer(own.told(kind));
    }
    let mut changes = Vec::with_capacity(names.len());
    for name in names {
        own.set(kind, &name, false);
        reply.push(3);
        reply.bulk_str(word);
        reply.bulk(&name);
        reply.integer(own.told(kind));
        changes.push(SubscriptionChange { kind, name, begins: false });
    }
    call.effects.push(Effect::Subscriptions(changes));
    Ok(())
}

fn subscribe(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    begin(call, reply, Kind::Channel, "subscribe")
}

fn psubscribe(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    begin(call, reply, Kind::Pattern, "psubscribe")
}

fn ssubscribe(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.in_exec {
        return fail("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");
    }
    begin(call, reply, Kind::Shard, "ssubscribe")
}

fn unsubscribe(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    end(call, reply, Kind::Channel, "unsubscribe")
}

fn punsubscribe(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    end(call, reply, Kind::Pattern, "punsubscribe")
}

fn sunsubscribe(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    end(call, reply, Kind::Shard, "sunsubscribe")
}

fn send(call: &mut Call<'_>, reply: &mut Reply<'_>, kind: Kind) -> Outcome {
    let (channel, payload) = (call.args.at(1), call.args.at(2));
    let mut receivers = call.node.pubsub.receivers(kind, channel) as i64;
    if call.in_exec && call.session.multi.as_ref().is_some_and(|multi| multi.subscribes) {
        receivers += Own::of(call).receivers_more(kind, channel);
    }
    if receivers > 0 {
        call.effects.push(Effect::Publish { kind, channel: channel.into(), payload: payload.into() });
    }
    reply.integer(receivers);
    Ok(())
}

fn publish(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    send(call, reply, Kind::Channel)
}

fn spublish(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    send(call, reply, Kind::Shard)
}

// ---- PUBSUB

fn pubsub_help(_: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "pubsub", PUBSUB_SUBCOMMANDS);
    Ok(())
}

fn channels(call: &mut Call<'_>, reply: &mut Reply<'_>, kind: Kind) -> Outcome {
    if call.args.len() > 3 {
        let text = "ERR unknown subcommand or wrong number of arguments for '";
        return Err(Error::quoting(text, call.args.at(1), "'. Try PUBSUB HELP.").into());
    }
    call.txn.expect_work(call.node.pubsub.count(kind) as u64)?;
    let mut names = call.node.pubsub.names(kind);
    if let Some(pattern) = call.args.get(2) {
        names.retain(|name| glob_match(pattern, name, false));
    }
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

fn numbers(call: &mut Call<'_>, reply: &mut Reply<'_>, kind: Kind) -> Outcome {
    let names = call.args.skip(2);
    reply.array(names.len() * 2);
    for name in names.iter() {
        reply.bulk(name);
        reply.integer(call.node.pubsub.subscribers(kind, name) as i64);
    }
    Ok(())
}

fn pubsub_channels(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    channels(call, reply, Kind::Channel)
}

fn pubsub_shardchannels(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    channels(call, reply, Kind::Shard)
}

fn pubsub_numsub(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    numbers(call, reply, Kind::Channel)
}

fn pubsub_shardnumsub(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    numbers(call, reply, Kind::Shard)
}

fn pubsub_numpat(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(call.node.pubsub.count(Kind::Pattern) as i64);
    Ok(())
}
