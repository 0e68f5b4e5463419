//! COMMAND: what the server's commands are, and which words of a request are keys.
//!
//! Everything is read from the table of commands. No key is touched and no lock is taken.

use crate::base::glob::glob_match;
use crate::dispatch::docs;
use crate::dispatch::spec::Flag::{Loading, NoMandatoryKeys, Stale};
use crate::dispatch::spec::{CATEGORIES, Category, Group, family};
use crate::dispatch::table::{Entry, Table};
use crate::dispatch::{Call, Command};
use crate::keyspace::Outcome;
use crate::resp::{Args, OwnedArgs, Reply};

/// COMMAND and its subcommands.
pub const COMMANDS: &[Command] = &family([Command::new("command", command)
    .arity(-1)
    .flags(&[Loading, Stale])
    .group(Group::Server)
    .acl(&[Category::Connection])
    .tips(&["nondeterministic_output_order"])
    .since("2.8.13")
    .complexity("O(N)")
    .summary("Describes every command.")
    .subcommands(COMMAND_SUBCOMMANDS)]);

const COMMAND_SUBCOMMANDS: &[Command] = &[
    Command::new("count", command_count)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::Server)
        .acl(&[Category::Connection])
        .since("2.8.13")
        .summary("Counts the commands."),
    Command::new("docs", command_docs)
        .arity(-2)
        .flags(&[Loading, Stale])
        .group(Group::Server)
        .acl(&[Category::Connection])
        .tips(&["nondeterministic_output_order"])
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Documents some commands, or all.")
        .syntax("[command-name...]"),
    Command::new("getkeys", command_getkeys)
        .arity(-3)
        .flags(&[Loading, Stale])
        .group(Group::Server)
        .acl(&[Category::Connection])
        .since("2.8.13")
        .complexity("O(N)")
        .summary("Tells which words of a command are keys.")
        .syntax("command [arg...]"),
    Command::new("getkeysandflags", command_getkeysandflags)
        .arity(-3)
        .flags(&[Loading, Stale])
        .group(Group::Server)
        .acl(&[Category::Connection])
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Tells which words of a command are keys and what it does with them.")
        .syntax("command [arg...]"),
    Command::new("help", command_help)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::Server)
        .acl(&[Category::Connection])
        .since("5.0.0")
        .summary("Lists what COMMAND can do."),
    Command::new("info", command_info)
        .arity(-2)
        .flags(&[Loading, Stale])
        .group(Group::Server)
        .acl(&[Category::Connection])
        .tips(&["nondeterministic_output_order"])
        .since("2.8.13")
        .complexity("O(N)")
        .summary("Describes some commands, or all.")
        .syntax("[command-name...]"),
    Command::new("list", command_list)
        .arity(-2)
        .flags(&[Loading, Stale])
        .group(Group::Server)
        .acl(&[Category::Connection])
        .tips(&["nondeterministic_output_order"])
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Lists names of commands.")
        .syntax("[FILTERBY filterby<MODULE module-name | ACLCAT category | PATTERN pattern:pattern>]"),
];

fn command(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    info(&call.node.table, Args::default(), reply);
    Ok(())
}

fn command_count(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(call.node.table.commands().count() as i64);
    Ok(())
}

fn command_docs(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs_of(&call.node.table, call.args.skip(2), reply);
    Ok(())
}

fn command_getkeys(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    keys(&call.node.table, call.args.skip(2), false, reply);
    Ok(())
}

fn command_getkeysandflags(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    keys(&call.node.table, call.args.skip(2), true, reply);
    Ok(())
}

fn command_help(_call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "command", COMMAND_SUBCOMMANDS);
    Ok(())
}

fn command_info(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    info(&call.node.table, call.args.skip(2), reply);
    Ok(())
}

fn command_list(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    list(&call.node.table, call.args.skip(2), reply);
    Ok(())
}

/// Finds `get` or `config|get`, in any case.
fn find<'t>(table: &'t Table, name: &[u8]) -> Option<&'t Entry> {
    let parts: Vec<&[u8]> = name.splitn(2, |byte| *byte == b'|').collect();
    let entry = table.find(OwnedArgs::from_slices(&parts).args()).ok()?;
    // A command without subcommands takes its second word for an argument; here it can only be a name.
    (entry.name.contains('|') == (parts.len() > 1)).then_some(entry)
}

/// COMMAND and COMMAND INFO; `names` are the words after it, none: all.
fn info(table: &Table, names: Args<'_>, reply: &mut Reply<'_>) {
    if names.is_empty() {
        reply.array(table.commands().count());
        return table.commands().for_each(|entry| docs::info(reply, entry.name, entry.spec));
    }
    reply.array(names.len());
    for name in names.iter() {
        match find(table, name) {
            Some(entry) => docs::info(reply, entry.name, entry.spec),
            None => reply.null(),
        }
    }
}

/// COMMAND DOCS; `names` are the words after it, none: all. Names that do not exist are left out.
fn docs_of(table: &Table, names: Args<'_>, reply: &mut Reply<'_>) {
    let found: Vec<&Entry> = match names.is_empty() {
        true => table.commands().collect(),
        false => names.iter().filter_map(|name| find(table, name)).collect(),
    };
    reply.map(found.len());
    found.iter().for_each(|entry| docs::docs(reply, entry.name, entry.spec));
}

/// COMMAND LIST; `filter` are the words after it.
fn list(table: &Table, filter: Args<'_>, reply: &mut Reply<'_>) {
    let is = |index: usize, word: &[u8]| filter.at(index).eq_ignore_ascii_case(word);
    let value = filter.at(2);
    if filter.is_empty() {
        list_where(table, reply, |_| true);
    } else if filter.len() != 3 || !is(0, b"filterby") {
        reply.error("ERR syntax error");
    } else if is(1, b"pattern") {
        list_where(table, reply, |entry| glob_match(value, entry.name.as_bytes(), true));
    } else if is(1, b"aclcat") {
        let category = CATEGORIES.iter().find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(value));
        let is_in = |entry: &Entry| category.is_some_and(|(one, _)| entry.spec.acl_categories().has(*one));
        list_where(table, reply, is_in);
    } else if is(1, b"module") {
        // There are no modules, so no command is of one.
        reply.array(0);
    } else {
        reply.error("ERR syntax error");
    }
}

fn list_where(table: &Table, reply: &mut Reply<'_>, is_wanted: impl Fn(&Entry) -> bool) {
    let names: Vec<&str> = table.present().filter(|entry| is_wanted(entry)).map(|entry| entry.name).collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk_str(name));
}

/// COMMAND GETKEYS and COMMAND GETKEYSANDFLAGS; `request` are the words after it.
fn keys(table: &Table, request: Args<'_>, with_flags: bool, reply: &mut Reply<'_>) {
    let Ok(Entry { spec, .. }) = table.find(request) else {
        return reply.error("ERR Invalid command specified");
    };
    if !spec.has_keys() {
        return reply.error("ERR The command has no key arguments");
    }
    if !spec.takes(request.len()) {
        return reply.error("ERR Invalid number of arguments specified for command");
    }
    let found = spec.keys_of(request).unwrap_or_default();
    if found.is_empty() && !spec.flags.has(NoMandatoryKeys) {
        return reply.error("ERR Invalid arguments specified for command");
    }
    reply.array(found.len());
    for key in &found {
        if with_flags {
            reply.array(2);
        }
        reply.bulk(request.at(key.index as usize));
        if with_flags {
            docs::key_flags(reply, key.flags);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::keyspec::KeySpec;
    use crate::resp::Proto;

    fn nothing(_call: &mut Call<'_>, _reply: &mut Reply<'_>) -> Outcome {
        Ok(())
    }

    const SUBS: &[Command] = &[Command::new("get", nothing).arity(-3).acl(&[Category::Admin])];
    const FAMILY: &[Command] = &[
        Command::new("get", nothing).arity(2).group(Group::String).keys(&[KeySpec::ro(1).access()]),
        Command::container("config", SUBS),
        Command::new("eval", nothing).arity(-3).flags(&[NoMandatoryKeys]).keys(&[KeySpec::rw(2).counted()]),
    ];

    fn table() -> Table {
        Table::new(&[FAMILY])
    }

    fn said(line: &str, run: impl Fn(Args<'_>, &mut Reply<'_>)) -> String {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let mut out = Vec::new();
        run(OwnedArgs::from_slices(&words).args(), &mut Reply::new(&mut out, Proto::Resp3));
        String::from_utf8(out).expect("text").replace("\r\n", " ")
    }

    #[test]
    fn list_filters_by_name_and_category() {
        let list = |line| said(line, |args, reply| list(&table(), args, reply));
        assert_eq!(list(""), "*4 $3 get $6 config $10 config|get $4 eval ");
        assert_eq!(list("FILTERBY pattern CONF*"), "*2 $6 config $10 config|get ");
        assert_eq!(list("filterby ACLCAT String"), "*1 $3 get ");
        assert_eq!(list("filterby aclcat nothing"), "*0 ");
        assert_eq!(list("filterby module m"), "*0 ");
        for wrong in ["filterby", "filterby x y", "a b c d", "filter pattern x"] {
            assert_eq!(list(wrong), "-ERR syntax error ", "{wrong}");
        }
    }

    #[test]
    fn getkeys_says_why_there_are_none() {
        let keys = |line, flags| said(line, move |args, reply| keys(&table(), args, flags, reply));
        assert_eq!(keys("GET a", false), "*1 $1 a ");
        assert_eq!(keys("get a", true), "*1 *2 $1 a ~2 +RO +access ");
        assert_eq!(keys("nothing", false), "-ERR Invalid command specified ");
        assert_eq!(keys("config nothing", false), "-ERR Invalid command specified ");
        assert_eq!(keys("config get x", false), "-ERR The command has no key arguments ");
        assert_eq!(keys("get", false), "-ERR Invalid number of arguments specified for command ");
        assert_eq!(keys("eval x 0", false), "*0 ");
    }

    #[test]
    fn unknown_names_are_null_in_info_and_left_out_of_docs() {
        let info = said("nothing config|nothing GET|x", |args, reply| info(&table(), args, reply));
        assert_eq!(info, "*3 _ _ _ ");
        let docs = said("nothing CONFIG|GET", |args, reply| docs_of(&table(), args, reply));
        assert!(docs.starts_with("%1 $10 config|get %4 "), "{docs}");
    }
}
