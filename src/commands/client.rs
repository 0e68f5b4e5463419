//! CLIENT: this connection and the others.
//!
//! What others are told of a connection is in `client_line`, whom LIST and KILL mean in `client_filter`. Nothing here changes a
//! connection: the effects do, when the reply is certain. Whom KILL and UNBLOCK reach is decided when the reply is written; a
//! client that goes away meanwhile has gone anyway.

use super::client_filter::{KillOrder, ListOrder, kill_order, list_order};
use super::client_line::{Running, write_line};
use super::client_pause::{client_pause, client_unpause};
use super::client_tracking;
use crate::base::number::parse_i64;
use crate::dispatch::spec::Flag::{Admin, Loading, NoScript, Stale};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command, docs};
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::Reply;
use crate::session::{ClientInfo, Effect, KillFilter, ReplyMode};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([Command::container("client", CLIENT_SUBCOMMANDS)
    .group(Group::Connection)
    .since("2.4.0")
    .summary("Connections: this one and the others.")]);

const CLIENT_SUBCOMMANDS: &[Command] = &[
    Command::new("caching", client_tracking::caching)
        .arity(3)
        .flags(&[NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("6.0.0")
        .summary("Says whether the keys of the next command are tracked.")
        .syntax("mode<YES | NO>"),
    Command::new("getname", client_getname)
        .arity(2)
        .flags(&[NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("2.6.9")
        .summary("Tells the connection's name."),
    Command::new("getredir", client_tracking::getredir)
        .arity(2)
        .flags(&[NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("6.0.0")
        .summary("Tells which connection gets the invalidation messages of this one."),
    Command::new("help", client_help)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::Connection)
        .since("5.0.0")
        .summary("Lists what CLIENT can do."),
    Command::new("id", client_id)
        .arity(2)
        .flags(&[NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("5.0.0")
        .summary("Tells the connection's number."),
    Command::new("info", client_info)
        .arity(2)
        .flags(&[NoScript, Loading, Stale])
        .group(Group::Connection)
        .tips(&["nondeterministic_output"])
        .since("6.2.0")
        .summary("Describes this connection."),
    Command::new("kill", client_kill)
        .arity(-3)
        .flags(&[Admin, NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("2.4.0")
        .complexity("O(N)")
        .summary("Closes connections chosen by filters.")
        .syntax(
            "filter<old-format/'ip:port'!2.8.12 | new-format<[ID client-id:int^2.8.12] | [TYPE \
             client-type<NORMAL | MASTER^3.2.0 | SLAVE | REPLICA^5.0.0 | PUBSUB>^2.8.12] | [USER username] \
             | [ADDR addr/'ip:port'] | [LADDR laddr/'ip:port'^6.2.0] | [SKIPME skipme<YES | NO>] | [MAXAGE \
             maxage:int^7.4.0]>...>",
        ),
    Command::new("list", client_list)
        .arity(-2)
        .flags(&[Admin, NoScript, Loading, Stale])
        .group(Group::Connection)
        .tips(&["nondeterministic_output"])
        .since("2.4.0")
        .complexity("O(N)")
        .summary("Describes all connections, or some of them.")
        .syntax("[TYPE client-type<NORMAL | MASTER | REPLICA | PUBSUB>^5.0.0] [ID client-id:int...^6.2.0]"),
    Command::new("no-evict", client_no_evict)
        .arity(3)
        .flags(&[Admin, NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("7.0.0")
        .summary("Keeps this connection when client memory runs out.")
        .syntax("enabled<ON | OFF>"),
    Command::new("no-touch", client_no_touch)
        .arity(3)
        .flags(&[NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("7.2.0")
        .summary("Lets this connection read keys without counting as use of them.")
        .syntax("enabled<ON | OFF>"),
    Command::new("pause", client_pause)
        .arity(-3)
        .flags(&[Admin, NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("3.0.0")
        .summary("Holds commands back for a while.")
        .syntax("timeout:int [mode<WRITE | ALL>^6.2.0]"),
    Command::new("reply", client_reply)
        .arity(3)
        .flags(&[NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("3.2.0")
        .summary("Turns the replies to this connection on or off.")
        .syntax("action<ON | OFF | SKIP>"),
    Command::new("setinfo", client_setinfo)
        .arity(4)
        .flags(&[NoScript, Loading, Stale])
        .group(Group::Connection)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("7.2.0")
        .summary("Notes the name or version of the client library.")
        .syntax("attr<LIB-NAME libname | LIB-VER libver>"),
    Command::new("setname", client_setname)
        .arity(3)
        .flags(&[NoScript, Loading, Stale])
        .group(Group::Connection)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.6.9")
        .summary("Names the connection.")
        .syntax("connection-name"),
    Command::new("tracking", client_tracking::tracking)
        .arity(-3)
        .flags(&[NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("6.0.0")
        .summary("Turns invalidation messages for cached keys on or off.")
        .syntax(
            "status<ON | OFF> [REDIRECT client-id:int] [PREFIX... prefix...] [BCAST] [OPTIN] [OPTOUT] \
             [NOLOOP]",
        ),
    Command::new("trackinginfo", client_tracking::trackinginfo)
        .arity(2)
        .flags(&[NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("6.2.0")
        .summary("Tells how this connection's caching is set up."),
    Command::new("unblock", client_unblock)
        .arity(-3)
        .flags(&[Admin, NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("5.0.0")
        .complexity("O(log N)")
        .summary("Wakes a connection that waits in a blocking command.")
        .syntax("client-id:int [unblock-type<TIMEOUT | ERROR>]"),
    Command::new("unpause", client_unpause)
        .arity(2)
        .flags(&[Admin, NoScript, Loading, Stale])
        .group(Group::Connection)
        .since("6.2.0")
        .complexity("O(N)")
        .summary("Ends a pause before its time."),
];

fn client_help(_: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "client", CLIENT_SUBCOMMANDS);
    Ok(())
}

fn client_id(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(i64::try_from(call.session.client.id).unwrap_or(i64::MAX));
    Ok(())
}

// ---- what a client says of itself

/// Names stand in lines of words, so they are printable and have no blanks.
fn is_word(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_graphic())
}

/// Refuses a connection name that is no word.
pub(super) fn check_name(name: &[u8]) -> Outcome {
    if is_word(name) {
        Ok(())
    } else {
        fail("ERR Client names cannot contain spaces, newlines or special characters.")
    }
}

fn client_setname(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let name = call.args.at(2);
    check_name(name)?;
    call.effects.push(Effect::SetName(name.into()));
    reply.ok();
    Ok(())
}

fn client_getname(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    // Within EXEC a new name is still an effect.
    let renamed = call.effects.iter().rev().find_map(|effect| match effect {
        Effect::SetName(name) => Some(Arc::clone(name)),
        _ => None,
    });
    let name = renamed.unwrap_or_else(|| Arc::clone(&call.session.client.labels.lock().name));
    if name.is_empty() {
        reply.null();
    } else {
        reply.bulk(&name);
    }
    Ok(())
}

fn client_setinfo(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (option, value) = (call.args.at(2), call.args.at(3));
    let effect: fn(Arc<[u8]>) -> Effect = match option.to_ascii_lowercase().as_slice() {
        b"lib-name" => Effect::SetLibName,
        b"lib-ver" => Effect::SetLibVersion,
        _ => return Err(Error::quoting("ERR Unrecognized option '", option, "'").into()),
    };
    if !is_word(value) {
        let after = " cannot contain spaces, newlines or special characters.";
        return Err(Error::quoting("ERR ", option, after).into());
    }
    call.effects.push(effect(value.into()));
    reply.ok();
    Ok(())
}

/// ON or OFF.
fn switch(word: &[u8]) -> Outcome<bool> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(Error::Syntax.into()),
    }
}

fn client_no_evict(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.effects.push(Effect::SetNoEvict(switch(call.args.at(2))?));
    reply.ok();
    Ok(())
}

fn client_no_touch(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.effects.push(Effect::SetNoTouch(switch(call.args.at(2))?));
    reply.ok();
    Ok(())
}

/// OFF and SKIP have no reply of their own; SKIP means nothing while replies are off.
fn client_reply(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    match call.args.at(2).to_ascii_lowercase().as_slice() {
        b"on" => {
            call.effects.push(Effect::SetReplyMode(ReplyMode::On));
            reply.ok();
        }
        b"off" => call.effects.push(Effect::SetReplyMode(ReplyMode::Off)),
        b"skip" if call.session.reply_mode == ReplyMode::Off => {}
        b"skip" => call.effects.push(Effect::SetReplyMode(ReplyMode::SkipNext)),
        _ => return Err(Error::Syntax.into()),
    }
    Ok(())
}

// ---- the others

/// What this connection is running: this command, or the EXEC it is part of.
fn running(call: &Call<'_>, command: &'static str) -> Running {
    Running { command: if call.in_exec { "exec" } else { command }, bytes: call.args.bytes_len() }
}

fn client_info(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut line = Vec::new();
    write_line(&mut line, &call.session.client, call.txn.now_ms(), Some(running(call, "client|info")));
    reply.verbatim(b"txt", &line);
    Ok(())
}

fn client_list(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let order = list_order(call.args.skip(2))?;
    let clients = &call.node.clients;
    let listed = match order {
        ListOrder::All => clients.all(),
        ListOrder::Kind(kind) => clients.matching(&KillFilter { kind: Some(kind), ..KillFilter::default() }),
        ListOrder::Ids(ids) => {
            ids.into_iter().filter_map(|id| clients.get(u64::try_from(id).ok()?)).collect()
        }
    };
    call.txn.expect_work(listed.len() as u64)?;
    let mut lines = Vec::new();
    for client in &listed {
        let running = (client.id == call.session.client.id).then(|| running(call, "client|list"));
        write_line(&mut lines, client, call.txn.now_ms(), running);
    }
    reply.verbatim(b"txt", &lines);
    Ok(())
}

fn client_kill(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let KillOrder { mut filter, spare_self, answers_count } = kill_order(call.args.skip(2))?;
    let own_id = call.session.client.id;
    filter.spare = spare_self.then_some(own_id);
    let meant: Vec<Arc<ClientInfo>> = call.node.clients.matching(&filter);
    if meant.is_empty() && !answers_count {
        return fail("ERR No such client");
    }
    let ids: Vec<u64> = meant.iter().map(|client| client.id).filter(|&id| id != own_id).collect();
    if ids.len() < meant.len() {
        // It is to get its reply first.
        call.effects.push(Effect::Close);
    }
    if !ids.is_empty() {
        call.effects.push(Effect::Kill(KillFilter { ids, ..KillFilter::default() }));
    }
    if answers_count {
        reply.integer(meant.len() as i64)
    } else {
        reply.ok()
    }
    Ok(())
}

fn client_unblock(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.args.len() > 4 {
        let start = "ERR unknown subcommand or wrong number of arguments for '";
        return Err(Error::quoting(start, call.args.at(1), "'. Try CLIENT HELP.").into());
    }
    let with_error = match call.args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"timeout") => false,
        Some(b"error") => true,
        Some(_) => return fail("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
    };
    let id = parse_i64(call.args.at(2)).ok_or(Error::NotInteger)?;
    let target = u64::try_from(id).ok().and_then(|id| call.node.clients.get(id));
    let Some(target) = target.filter(|client| client.blocked.load(Ordering::Acquire)) else {
        reply.integer(0);
        return Ok(());
    };
    call.effects.push(Effect::Unblock { client: target.id, with_error });
    reply.integer(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_of_printable_ascii() {
        assert!(is_word(b"") && is_word(b"worker:7!~"));
        for bad in [&b"a b"[..], b"a\n", b"\x7f", b"\xc3\xa9"] {
            assert!(!is_word(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_switch_is_on_or_off() {
        assert!(matches!(switch(b"ON"), Ok(true)) && matches!(switch(b"off"), Ok(false)));
        assert!(switch(b"yes").is_err() && switch(b"").is_err());
    }
}
