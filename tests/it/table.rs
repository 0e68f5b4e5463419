//! Tuff's whole command table against a real Redis': COMMAND, COMMAND DOCS and COMMAND GETKEYS.
//!
//! For every command and subcommand that Tuff has: arity, flags, key positions, ACL categories, tips, key specs, group, since,
//! and arguments are equal to the oracle's. Order within flags, categories and tips is free. Prose is in our own words:
//! the summary must only be there; a complexity must be there where Redis has one and name no other bounds than Redis
//! does; a key spec has notes where Redis has. What differs on purpose is named in `INTENDED`, what Redis lacks in `OWN`.

use crate::client::Client;
use crate::server::{Program, Server};
use crate::value::Value;
use std::collections::BTreeMap;

/// Commands (or `container|subcommand`) that only Tuff has.
const OWN: &[&str] = &[];

/// (command, what, why): differences from Redis that are meant. `what` is a name from `COLUMNS` or `DOCS`.
const INTENDED: &[(&str, &str, &str)] = &[];

/// The columns of one COMMAND INFO entry. Subcommands, the last, are entries of their own here.
const COLUMNS: [&str; 9] =
    ["name", "arity", "flags", "first key", "last key", "step", "acl categories", "tips", "key specs"];

/// The fields of one COMMAND DOCS entry that are compared.
const DOCS: [&str; 4] = ["group", "since", "doc_flags", "arguments"];

type Entries = BTreeMap<String, BTreeMap<String, Value>>;

/// COMMAND's entries by name, subcommands included.
fn commands(client: &mut Client) -> Entries {
    let mut entries = Entries::new();
    for entry in client.run("COMMAND").items() {
        add_command(&entry, &mut entries);
    }
    entries
}

fn add_command(entry: &Value, entries: &mut Entries) {
    let parts = entry.items();
    assert_eq!(parts.len(), 10, "a COMMAND entry has ten parts: {}", entry.render());
    let columns = COLUMNS.iter().zip(&parts).map(|(column, value)| {
        let free_order = ["flags", "acl categories", "tips"].contains(column);
        let value = if free_order { as_sorted_array(value) } else { normal(value) };
        (column.to_string(), if *column == "key specs" { without_notes(value) } else { value })
    });
    entries.insert(parts[0].text(), columns.collect());
    parts[9].items().iter().for_each(|sub| add_command(sub, entries));
}

/// COMMAND DOCS' entries by name, subcommands included.
fn docs(client: &mut Client) -> Entries {
    let mut entries = Entries::new();
    add_docs(&client.run("COMMAND DOCS"), &mut entries);
    entries
}

fn add_docs(map: &Value, entries: &mut Entries) {
    for (name, entry) in pairs(map) {
        let fields: BTreeMap<String, Value> =
            pairs(&entry).into_iter().map(|(k, v)| (k, normal(&v))).collect();
        if let Some((_, subcommands)) = pairs(&entry).into_iter().find(|(field, _)| field == "subcommands") {
            add_docs(&subcommands, entries);
        }
        entries.insert(name, fields);
    }
}

/// A map's pairs, also when it comes as a flat array.
fn pairs(value: &Value) -> Vec<(String, Value)> {
    value.items().chunks(2).map(|pair| (pair[0].text(), pair[1].clone())).collect()
}

/// Sets are arrays in sorted order, maps are sorted by key, simple strings are strings.
fn normal(value: &Value) -> Value {
    match value {
        Value::Set(_) => as_sorted_array(value),
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        Value::Map(pairs) => {
            let mut pairs: Vec<_> = pairs.iter().map(|(k, v)| (normal(k), normal(v))).collect();
            pairs.sort();
            Value::Map(pairs)
        }
        Value::Simple(text) => Value::Bulk(text.clone()),
        other => other.clone(),
    }
}

/// Key specs whose notes are there but say nothing.
fn without_notes(specs: Value) -> Value {
    let note = Value::Bulk(b"notes".to_vec());
    let blank = |spec: &Value| match spec {
        Value::Map(pairs) => Value::Map(
            pairs
                .iter()
                .map(|(k, v)| (k.clone(), if *k == note { Value::Bulk(Vec::new()) } else { v.clone() }))
                .collect(),
        ),
        other => other.clone(),
    };
    Value::Array(specs.items().iter().map(blank).collect())
}

/// The bounds that a complexity names: every `O(...)` in it.
fn bounds(complexity: &str) -> Vec<&str> {
    complexity.split("O(").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// Whether a complexity says what Redis says, in other words.
fn is_same_complexity(ours: Option<&Value>, theirs: Option<&Value>) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return ours.is_none() && theirs.is_none() };
    let (ours, theirs) = (ours.text(), theirs.text());
    let (ours, theirs) = (bounds(&ours), bounds(&theirs));
    ours.is_empty() == theirs.is_empty() && ours.iter().all(|bound| theirs.contains(bound))
}

fn as_sorted_array(value: &Value) -> Value {
    let mut items: Vec<Value> = value.items().iter().map(normal).collect();
    items.sort();
    Value::Array(items)
}

/// Every difference in the named fields, in words.
fn differences(ours: &Entries, theirs: &Entries, fields: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, entry) in ours {
        if OWN.contains(&name.as_str()) {
            continue;
        }
        let Some(other) = theirs.get(name) else {
            found.push(format!("{name}: Redis has no such command"));
            continue;
        };
        for field in fields {
            let intended = INTENDED.iter().any(|(command, what, _)| command == name && what == field);
            let (left, right) = (entry.get(*field), other.get(*field));
            if left != right && !intended {
                let show = |v: Option<&Value>| {
                    v.map_or("nothing".to_string(), |v| v.render().replace('\n', "\n    "))
                };
                found.push(format!(
                    "{name}: {field} is\n    {}\n  but in Redis\n    {}",
                    show(left),
                    show(right)
                ));
            }
        }
    }
    found
}

fn resp3(server: &Server) -> Client {
    let mut client = server.client();
    client.run("HELLO 3");
    client
}

#[test]
fn every_command_is_described_as_in_redis() {
    let (subject, oracle) = (Server::tuff(&[]), Server::redis(&[]));
    let ours = commands(&mut resp3(&subject));
    let theirs = commands(&mut resp3(&oracle));
    let found = differences(&ours, &theirs, &COLUMNS);
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
    let top = ours.keys().filter(|name| !name.contains('|')).count() as i64;
    assert_eq!(subject.client().run("COMMAND COUNT").integer(), top);
}

#[test]
fn every_command_is_documented_as_in_redis() {
    let (subject, oracle) = (Server::tuff(&[]), Server::redis(&[]));
    let ours = docs(&mut resp3(&subject));
    let theirs = docs(&mut resp3(&oracle));
    let mut found = differences(&ours, &theirs, &DOCS);
    for (name, entry) in ours.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
        let (left, right) = (entry.get("complexity"), theirs.get(name).and_then(|e| e.get("complexity")));
        if !is_same_complexity(left, right) {
            let show = |v: Option<&Value>| v.map_or("nothing".to_string(), Value::text);
            found.push(format!("{name}: complexity is {}\n  but in Redis {}", show(left), show(right)));
        }
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
    // The vector sets inside the oracle have no summaries; Tuff's commands all have.
    let documented = if subject.program() == Program::Tuff { ours.clone() } else { Entries::new() };
    for (name, entry) in &documented {
        let summary = entry.get("summary").map(Value::text).unwrap_or_default();
        assert!(
            summary.len() > 5 && summary.ends_with('.'),
            "{name} has no summary, or one that is no sentence: {summary:?}"
        );
    }
    let described: Vec<String> = commands(&mut resp3(&subject)).into_keys().collect();
    assert_eq!(
        ours.into_keys().collect::<Vec<_>>(),
        described,
        "COMMAND and COMMAND DOCS name the same commands"
    );
}

/// For every command with keys, lines made from its arity are asked of both servers: key positions are the same.
#[test]
fn keys_are_found_as_in_redis() {
    let (subject, oracle) = (Server::tuff(&[]), Server::redis(&[]));
    let (mut left, mut right) = (subject.client(), oracle.client());
    let mut found = Vec::new();
    for (name, entry) in commands(&mut resp3(&subject)) {
        if OWN.contains(&name.as_str())
            || INTENDED.iter().any(|(command, what, _)| *command == name && *what == "key specs")
        {
            continue;
        }
        let arity = entry["arity"].integer().unsigned_abs() as usize;
        let words: Vec<String> = name.split('|').map(str::to_string).collect();
        for more in 0..4 {
            let mut line = vec!["COMMAND".to_string(), "GETKEYSANDFLAGS".to_string()];
            line.extend(words.clone());
            line.extend((words.len()..arity + more).map(|i| format!("a{i}")));
            let (ours, theirs) = (left.call(&line), right.call(&line));
            if ours != theirs {
                found.push(format!(
                    "{}:\n{}\n  but in Redis\n{}",
                    line.join(" "),
                    ours.render(),
                    theirs.render()
                ));
            }
        }
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

/// Every command, called with one word too few and (if it takes no more) one too many, answers what Redis answers.
#[test]
fn wrong_numbers_of_arguments_answer_as_in_redis() {
    let (subject, oracle) = (Server::tuff(&[]), Server::redis(&[]));
    let (mut left, mut right) = (subject.client(), oracle.client());
    let mut found = Vec::new();
    for (name, entry) in commands(&mut resp3(&subject)) {
        if OWN.contains(&name.as_str()) {
            continue;
        }
        let words: Vec<String> = name.split('|').map(str::to_string).collect();
        let arity = entry["arity"].integer();
        let mut counts = vec![arity.unsigned_abs() as usize - 1];
        counts.extend((arity > 0).then(|| arity as usize + 1));
        for count in counts.into_iter().filter(|count| *count >= words.len()) {
            let mut line = words.clone();
            line.resize(count, "x".to_string());
            let (ours, theirs) = (left.call(&line), right.call(&line));
            if ours != theirs {
                found.push(format!(
                    "{}:\n{}\n  but in Redis\n{}",
                    line.join(" "),
                    ours.render(),
                    theirs.render()
                ));
            }
        }
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}
