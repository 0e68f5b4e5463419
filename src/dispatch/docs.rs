//! What COMMAND says about commands: the replies of COMMAND INFO, COMMAND DOCS and of every HELP,
//! made from the table.
//!
//! A reply is written while the spec is walked; nothing is built before. Under RESP3 maps and sets are real, under
//! RESP2 they are flat arrays; flags are simple strings, tips and names are bulks, as Redis has them. The complexity
//! and summary texts are our own; a history is not kept.
//!
//! Pure functions of the table: no state, no lock.

use super::keyspec::{Begin, Find, KeyFlags, KeySpec};
use super::spec::Spec;
use super::syntax::{Argument, Kind, join, parse};
use crate::resp::Reply;

/// One entry of COMMAND INFO. `name` is the whole name: `get`, `config|get`.
pub fn info<H: 'static>(reply: &mut Reply<'_>, name: &str, spec: &Spec<H>) {
    let (first, last, step) = spec.first_last_step();
    reply.array(10);
    reply.bulk_str(name);
    reply.integer(i64::from(spec.arity));
    let movable = spec.has_movable_keys().then_some("movablekeys");
    simple_set(reply, spec.flags.names().chain(movable));
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let categories: Vec<String> = spec.acl_categories().names().map(|name| format!("@{name}")).collect();
    simple_set(reply, categories.iter().map(String::as_str));
    reply.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| reply.bulk_str(tip));
    reply.set(spec.keys.len());
    spec.keys.iter().for_each(|keys| key_spec(reply, keys));
    // Without subcommands Redis writes an empty set here, with them an array.
    if spec.subcommands.is_empty() {
        return reply.set(0);
    }
    reply.array(spec.subcommands.len());
    spec.subcommands.iter().for_each(|sub| info(reply, &sub_name(spec, sub), sub));
}

/// One entry of COMMAND DOCS: the whole name, then a map.
pub fn docs<H: 'static>(reply: &mut Reply<'_>, name: &str, spec: &Spec<H>) {
    reply.bulk_str(name);
    // A syntax that does not parse is caught by the tests over the table; here it would only lose the arguments.
    let arguments = parse(spec.syntax).unwrap_or_default();
    let doc_flag = spec.deprecated.map(|_| "deprecated").or(spec.syscmd.then_some("syscmd"));
    let mark = reply.deferred_map();
    let mut pairs = 3;
    pair(reply, "summary", spec.summary);
    pair(reply, "since", spec.since);
    pair(reply, "group", spec.group.name());
    if !spec.complexity.is_empty() {
        pair(reply, "complexity", spec.complexity);
        pairs += 1;
    }
    if let Some(flag) = doc_flag {
        reply.bulk_str("doc_flags");
        simple_set(reply, std::iter::once(flag));
        pairs += 1;
    }
    if let Some((version, replacement)) = spec.deprecated {
        pair(reply, "deprecated_since", version);
        pair(reply, "replaced_by", replacement);
        pairs += 2;
    }
    if !arguments.is_empty() {
        reply.bulk_str("arguments");
        argument_list(reply, &arguments);
        pairs += 1;
    }
    if !spec.subcommands.is_empty() {
        reply.bulk_str("subcommands");
        reply.map(spec.subcommands.len());
        spec.subcommands.iter().for_each(|sub| docs(reply, &sub_name(spec, sub), sub));
        pairs += 1;
    }
    reply.fill_map(mark, pairs);
}

/// The reply of a container's HELP: how to write each subcommand, and what it does.
pub fn help<H: 'static>(reply: &mut Reply<'_>, container: &str, subcommands: &[Spec<H>]) {
    let container = container.to_ascii_uppercase();
    let mut lines = vec![format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    for sub in subcommands.iter().filter(|sub| sub.name != "help") {
        let arguments = join(&parse(sub.syntax).unwrap_or_default(), " ");
        lines.push(format!("{} {arguments}", sub.name.to_ascii_uppercase()).trim_end().to_string());
        lines.push(format!("    {}", sub.summary));
    }
    lines.extend(["HELP".to_string(), "    Print this help.".to_string()]);
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.simple(line));
}

/// The names of key flags, as a set.
pub fn key_flags(reply: &mut Reply<'_>, flags: KeyFlags) {
    simple_set(reply, flags.names());
}

fn sub_name<H>(container: &Spec<H>, sub: &Spec<H>) -> String {
    format!("{}|{}", container.name, sub.name)
}

fn pair(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk_str(name);
    reply.bulk_str(value);
}

fn simple_set<'n>(reply: &mut Reply<'_>, names: impl Iterator<Item = &'n str>) {
    let mark = reply.deferred_set();
    let mut count = 0;
    for name in names {
        reply.simple(name);
        count += 1;
    }
    reply.fill_set(mark, count);
}

fn key_spec(reply: &mut Reply<'_>, spec: &KeySpec) {
    reply.map(if spec.note.is_empty() { 3 } else { 4 });
    if !spec.note.is_empty() {
        pair(reply, "notes", spec.note);
    }
    reply.bulk_str("flags");
    key_flags(reply, spec.flags);
    reply.bulk_str("begin_search");
    match spec.begin {
        Begin::Index(index) => search(reply, "index", &[("index", i64::from(index))]),
        Begin::Unknown => search(reply, "unknown", &[]),
        Begin::Keyword { word, from } => {
            reply.map(2);
            pair(reply, "type", "keyword");
            reply.bulk_str("spec");
            reply.map(2);
            pair(reply, "keyword", word);
            reply.bulk_str("startfrom");
            reply.integer(i64::from(from));
        }
    }
    reply.bulk_str("find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            let numbers =
                [("lastkey", i64::from(last)), ("keystep", i64::from(step)), ("limit", i64::from(limit))];
            search(reply, "range", &numbers);
        }
        Find::Counted => search(reply, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]),
        Find::Unknown => search(reply, "unknown", &[]),
    }
}

fn search(reply: &mut Reply<'_>, kind: &str, numbers: &[(&str, i64)]) {
    reply.map(2);
    pair(reply, "type", kind);
    reply.bulk_str("spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk_str(name);
        reply.integer(*number);
    }
}

fn argument_list(reply: &mut Reply<'_>, arguments: &[Argument]) {
    reply.array(arguments.len());
    for argument in arguments {
        let mark = reply.deferred_map();
        let pairs = argument_pairs(reply, argument);
        reply.fill_map(mark, pairs);
    }
}

fn argument_pairs(reply: &mut Reply<'_>, argument: &Argument) -> usize {
    pair(reply, "name", &argument.name);
    pair(reply, "type", argument.kind.name());
    let mut pairs = 2;
    if let Some(display) = &argument.display {
        pair(reply, "display_text", display);
        pairs += 1;
    }
    if let Some(number) = argument.key_spec {
        reply.bulk_str("key_spec_index");
        reply.integer(i64::from(number));
        pairs += 1;
    }
    let token = argument.token.as_deref();
    let texts =
        [("token", token), ("since", argument.since), ("deprecated_since", argument.deprecated_since)];
    for (name, text) in texts {
        if let Some(text) = text {
            pair(reply, name, text);
            pairs += 1;
        }
    }
    let flags = [
        (argument.optional, "optional"),
        (argument.multiple, "multiple"),
        (argument.multiple_token, "multiple_token"),
    ];
    if flags.iter().any(|(set, _)| *set) {
        reply.bulk_str("flags");
        simple_set(reply, flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name));
        pairs += 1;
    }
    if matches!(argument.kind, Kind::OneOf | Kind::Block) {
        reply.bulk_str("arguments");
        argument_list(reply, &argument.arguments);
        pairs += 1;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::spec::{Flag, Group};
    use crate::resp::Proto;

    const KEYS: &[KeySpec] = &[KeySpec::ow(1).update().note("N"), KeySpec::ro(2).after("STREAMS").access()];

    fn spec() -> Spec<()> {
        Spec::new("x", ())
            .arity(-2)
            .flags(&[Flag::Fast, Flag::Write])
            .group(Group::String)
            .keys(KEYS)
            .tips(&["t"])
            .since("1.0.0")
            .summary("S.")
            .syntax("[EX key@0...]")
    }

    fn said(proto: Proto, write: impl Fn(&mut Reply<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, proto));
        String::from_utf8(out).expect("text").replace("\r\n", " ")
    }

    #[test]
    fn info_has_sets_and_maps_in_resp3() {
        let text = said(Proto::Resp3, |reply| info(reply, "p|x", &spec()));
        let begin =
            "*10 $3 p|x :-2 ~3 +write +fast +movablekeys :1 :1 :1 ~3 +@write +@string +@fast ~1 $1 t ~2 ";
        assert!(text.starts_with(begin), "{text}");
        let keyword = "$4 type $7 keyword $4 spec %2 $7 keyword $7 STREAMS $9 startfrom :2 ";
        assert!(
            text.contains("%4 $5 notes $1 N $5 flags ~2 +OW +update ") && text.contains(keyword),
            "{text}"
        );
        assert!(text.ends_with("~0 "), "{text}");
    }

    #[test]
    fn docs_are_flat_arrays_in_resp2() {
        let text = said(Proto::Resp2, |reply| docs(reply, "x", &spec()));
        let arguments = "*1 *12 $4 name $3 key $4 type $3 key $12 display_text $3 key $14 key_spec_index :0 $5 token \
                         $2 EX $5 flags *2 +optional +multiple ";
        assert!(
            text.starts_with("$1 x *10 $7 summary $2 S. $5 since $5 1.0.0 $5 group $6 string "),
            "{text}"
        );
        assert!(text.ends_with(arguments), "{text}");
    }

    #[test]
    fn help_is_made_from_syntax_and_summary() {
        let help = said(Proto::Resp2, |reply| help(reply, "config", &[spec()]));
        let head = "*5 +CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are: ";
        assert_eq!(help, format!("{head}+X [EX <key> [<key> ...]] +    S. +HELP +    Print this help. "));
    }
}
