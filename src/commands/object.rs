//! OBJECT: how a value is kept and how it was used. None of it counts as a use.
//!
//! Idle time and frequency are the memory tier's, of the key's head. A key that is only on disk was not used for as long as the
//! tier can tell: its frequency is 0, its idle time the server's age.

use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{Loading, ReadOnly, Stale};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command, docs};
use crate::encoding::head::DataType;
use crate::hot::Policy;
use crate::keyspace::events::Events;
use crate::keyspace::{Key, Outcome, Stored, fail};
use crate::resp::Reply;
use crate::types::{hash, list, set, string, zset};

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([Command::container("object", OBJECT_SUBCOMMANDS)
    .group(Group::Generic)
    .since("2.2.3")
    .summary("How a value is kept.")]);

const OBJECT_SUBCOMMANDS: &[Command] = &[
    Command::new("encoding", object_encoding)
        .arity(3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(2)])
        .group(Group::Generic)
        .tips(&["nondeterministic_output"])
        .since("2.2.3")
        .summary("Names the form a value is kept in.")
        .syntax("key@0"),
    Command::new("freq", object_freq)
        .arity(3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(2)])
        .group(Group::Generic)
        .tips(&["nondeterministic_output"])
        .since("4.0.0")
        .summary("Tells how often a key was used, as a logarithm.")
        .syntax("key@0"),
    Command::new("help", object_help)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::Generic)
        .since("6.2.0")
        .summary("Lists what OBJECT can do."),
    Command::new("idletime", object_idletime)
        .arity(3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(2)])
        .group(Group::Generic)
        .tips(&["nondeterministic_output"])
        .since("2.2.3")
        .summary("Tells for how many seconds a key was not used.")
        .syntax("key@0"),
    Command::new("refcount", object_refcount)
        .arity(3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(2)])
        .group(Group::Generic)
        .tips(&["nondeterministic_output"])
        .since("2.2.3")
        .summary("Tells how often a value is referred to.")
        .syntax("key@0"),
];

const NOT_LFU: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                       switching between policies at runtime LRU and LFU data will take some time to adjust.";
const IS_LFU: &str = "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                      between policies at runtime LRU and LFU data will take some time to adjust.";

/// Loads the key of an OBJECT command without a trace; answers null when there is none.
fn load_quietly(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome<Option<(Key, Stored)>> {
    call.txn.set_quiet(true);
    call.txn.mute(Events::KEY_MISS);
    let key = call.key(2);
    let stored = call.txn.load(&key)?;
    if stored.is_none() {
        reply.null();
    }
    Ok(stored.map(|stored| (key, stored)))
}

fn object_encoding(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if let Some((_, stored)) = load_quietly(call, reply)? {
        reply.bulk_str(encoding_name(&stored));
    }
    Ok(())
}

/// What OBJECT ENCODING answers.
pub(super) fn encoding_name(stored: &Stored) -> &'static str {
    match stored.data_type() {
        DataType::String => string::object_encoding(stored),
        DataType::Hash => hash::object_encoding(stored),
        DataType::List => list::object_encoding(stored),
        DataType::Set => set::object_encoding(stored),
        DataType::Zset => zset::object_encoding(stored),
        DataType::Stream => "stream",
    }
}

fn object_refcount(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if load_quietly(call, reply)?.is_some() {
        // Values are never shared.
        reply.integer(1);
    }
    Ok(())
}

fn object_freq(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some((key, _)) = load_quietly(call, reply)? else { return Ok(()) };
    let keyspace = call.txn.keyspace();
    if !is_lfu(keyspace.hot().policy()) {
        return fail(NOT_LFU);
    }
    let frequency = keyspace.hot().frequency(keyspace.hot_name(&key)).unwrap_or(0);
    reply.integer(i64::from(frequency));
    Ok(())
}

fn object_idletime(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some((key, _)) = load_quietly(call, reply)? else { return Ok(()) };
    if is_lfu(call.txn.keyspace().hot().policy()) {
        return fail(IS_LFU);
    }
    let idle_s = idle_seconds(call, &key);
    reply.integer(i64::try_from(idle_s).unwrap_or(i64::MAX));
    Ok(())
}

/// How long a key was not used, as far as the memory tier can tell.
pub(super) fn idle_seconds(call: &Call<'_>, key: &Key) -> u64 {
    let keyspace = call.txn.keyspace();
    let server_age_s = call.txn.now_ms().saturating_sub(call.node.started_ms) / 1000;
    keyspace.hot().idle_seconds(keyspace.hot_name(key)).unwrap_or(server_age_s)
}

fn is_lfu(policy: Policy) -> bool {
    matches!(policy, Policy::Lfu { .. })
}

fn object_help(_: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "object", OBJECT_SUBCOMMANDS);
    Ok(())
}
