//! SLOWLOG: the commands that took long. What is kept of them is in `dispatch::slowlog`.

use crate::base::number::parse_i64;
use crate::dispatch::spec::Flag::{Admin, Loading, Stale};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command, docs};
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::Reply;
use crate::session::Effect;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([Command::container("slowlog", SLOWLOG_SUBCOMMANDS)
    .group(Group::Server)
    .since("2.2.12")
    .summary("The commands that took long.")]);

const SLOWLOG_SUBCOMMANDS: &[Command] = &[
    Command::new("get", slowlog_get)
        .arity(-2)
        .flags(&[Admin, Loading, Stale])
        .group(Group::Server)
        .tips(&["request_policy:all_nodes", "nondeterministic_output"])
        .since("2.2.12")
        .complexity("O(N)")
        .summary("Shows the newest of the slow commands.")
        .syntax("[count:int]"),
    Command::new("help", slowlog_help)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::Server)
        .since("6.2.0")
        .summary("Lists what SLOWLOG can do."),
    Command::new("len", slowlog_len)
        .arity(2)
        .flags(&[Admin, Loading, Stale])
        .group(Group::Server)
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
        .since("2.2.12")
        .summary("Counts the entries of the slow log."),
    Command::new("reset", slowlog_reset)
        .arity(2)
        .flags(&[Admin, Loading, Stale])
        .group(Group::Server)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.2.12")
        .complexity("O(N)")
        .summary("Empties the slow log."),
];

/// Entries GET shows when it is not told how many.
const SHOWN: usize = 10;

fn slowlog_get(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.args.len() > 3 {
        let after = "'. Try SLOWLOG HELP.";
        let before = "ERR unknown subcommand or wrong number of arguments for '";
        return Err(Error::quoting(before, call.args.at(1), after).into());
    }
    let count = match call.args.get(2).map(parse_i64) {
        None => SHOWN,
        Some(Some(-1)) => usize::MAX,
        Some(Some(count)) if count >= 0 => usize::try_from(count).unwrap_or(usize::MAX),
        Some(_) => return fail("ERR count should be greater than or equal to -1"),
    };
    let entries = call.node.slowlog.newest(count);
    call.txn.expect_work(entries.len() as u64)?;
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(entry.at_s as i64);
        reply.integer(i64::try_from(entry.duration_us).unwrap_or(i64::MAX));
        reply.array(entry.words.len());
        entry.words.iter().for_each(|word| reply.bulk(word));
        reply.bulk_str(&entry.address);
        reply.bulk(&entry.name);
    }
    Ok(())
}

fn slowlog_len(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(call.node.slowlog.len() as i64);
    Ok(())
}

fn slowlog_reset(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.effects.push(Effect::ResetSlowLog);
    reply.ok();
    Ok(())
}

fn slowlog_help(_: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "slowlog", SLOWLOG_SUBCOMMANDS);
    Ok(())
}
