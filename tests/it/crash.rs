//! kill -9 under load, with ledgers: nothing acknowledged, and nothing a reader was shown, is lost.
//!
//! Each writer has keys of its own and writes a numbered list of operations that follows from its seed alone: number n is always
//! the same operation, and every value carries its number. So the state after n operations is known (`Model`), and after a crash
//! the writer's keys must be exactly the state after some n: not a mix, and not half a transaction. That n must reach at least
//! the last operation that was acknowledged and the last whose value a reader saw; operations that were sent and not answered
//! may be there or not. Writers go on from there in the next round. DBSIZE must be what a whole SCAN counts. With every other start
//! hardly any collection is small enough to be packed, so that both forms are written, read and changed one into the other.
//!
//! Only the process dies here, not the machine: with `everysec` nothing may be lost either. `TUFF_CRASH_ROUNDS` (5) says how
//! often, `TUFF_SEED` repeats the operations (not the moment of the kill).

use crate::chance::{Chance, number_from_env, seed};
use crate::client::{Client, encode};
use crate::server::{Server, subject_is_oracle};
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WRITERS: usize = 4;
const READERS: usize = 2;
/// Operations sent ahead of their answers, at most.
const AHEAD_MAX: u64 = 32;
const ROUND_TIMEOUT_S: u64 = 120;

/// A state of one writer's keys, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Text(String),
    Hash(BTreeMap<String, String>),
    List(Vec<String>),
    Set(BTreeSet<String>),
    /// Scores by member.
    Zset(BTreeMap<String, String>),
    /// Ids, which rise, and values. It may be empty.
    Stream(Vec<(String, String)>),
}

/// What one writer's keys hold after its first operations.
#[derive(Clone, Default)]
struct Model {
    keys: BTreeMap<String, Content>,
}

/// One operation: the commands that are sent; more than one stand between MULTI and EXEC.
struct Operation {
    commands: Vec<Vec<String>>,
}

/// The kinds of keys that a writer has five of each.
const KINDS: [&str; 6] = ["text", "hash", "list", "set", "zset", "stream"];

/// One of the members that sorted sets have, of many lengths.
fn zset_member(number: u64) -> String {
    format!("m{number}{}", "z".repeat(number as usize * 3))
}

/// The writer's operation number `n`; operations count from 1.
fn operation(writer: usize, seed: u64, n: u64) -> Operation {
    let mut chance = Chance::new(seed ^ (writer as u64) << 48 ^ n.wrapping_mul(0x9E37_79B9));
    let small = chance.below(5);
    let key = |kind: &str| format!("w{writer}:{kind}:{small}");
    let words = |list: &[&str]| list.iter().map(|w| w.to_string()).collect::<Vec<String>>();
    let number = n.to_string();
    let one = |list: &[&str]| Operation { commands: vec![words(list)] };
    match chance.below(27) {
        0..=2 => one(&["SET", &key("text"), &number]),
        3 => one(&[
            "SET",
            &key("text"),
            &format!("{n}:{}", "x".repeat(chance.below(3000) as usize)),
            "EX",
            "100000",
        ]),
        4..=6 => one(&["HSET", &key("hash"), &format!("f{}", chance.below(30)), &number]),
        7 => one(&[
            "HSET",
            &key("hash"),
            &format!("f{}", chance.below(30)),
            &format!("{n}:{}", "y".repeat(70)),
        ]),
        8 => one(&["RPUSH", &key("list"), &number]),
        9 => one(&["RPUSH", &key("list"), &number, &format!("{n}:{}", "l".repeat(40))]),
        10 => one(&["LPOP", &key("list")]),
        11 => {
            // The pair is whole or absent: a reader that gets both in one MGET must see one number.
            let set = |end: &str| words(&["SET", &format!("w{writer}:pair:{end}"), &number]);
            let marks = [
                words(&["HSET", &key("hash"), "pair", &number]),
                words(&["SADD", &key("set"), &number]),
                words(&["ZADD", &key("zset"), &number, "pair"]),
                words(&["RPUSH", &key("list"), &number]),
                words(&["XADD", &key("stream"), &format!("{n}-1"), "f", &number]),
            ];
            Operation { commands: [&[set("left")], &marks[..], &[set("right")]].concat() }
        }
        12 => one(&["HDEL", &key("hash"), &format!("f{}", chance.below(30)), "pair"]),
        13 | 14 => one(&["SADD", &key("set"), &number]),
        15 => one(&["SADD", &key("set"), &number, &format!("{n}:{}", "s".repeat(40))]),
        16 => {
            let mut command = words(&["SREM", &key("set")]);
            command.extend((0..10).map(|_| n.saturating_sub(1 + chance.below(100)).to_string()));
            Operation { commands: vec![command] }
        }
        17 => {
            let name = ["SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE"][chance.below(3) as usize];
            let other = |chance: &mut Chance| format!("w{writer}:set:{}", chance.below(5));
            one(&[name, &key("set"), &other(&mut chance), &other(&mut chance)])
        }
        18..=20 => one(&["ZADD", &key("zset"), &number, &zset_member(chance.below(30))]),
        22 | 23 => one(&["XADD", &key("stream"), &format!("{n}-1"), "f", &number]),
        24 => one(&["XADD", &key("stream"), "MAXLEN", "40", &format!("{n}-1"), "f", &number]),
        25 => one(&["XDEL", &key("stream"), &format!("{}-1", n.saturating_sub(1 + chance.below(100)))]),
        21 => one(&["ZREM", &key("zset"), &zset_member(chance.below(30)), "pair"]),
        _ => one(&["DEL", &key(KINDS[chance.below(KINDS.len() as u64) as usize])]),
    }
}

impl Model {
    fn apply(&mut self, operation: &Operation) {
        for command in &operation.commands {
            self.apply_command(command);
            self.keys.retain(|_, content| !content.is_empty());
        }
    }

    fn apply_command(&mut self, command: &[String]) {
        let (name, key, words) = (command[0].as_str(), &command[1], &command[2..]);
        if name == "DEL" {
            self.keys.remove(key);
            return;
        }
        if name.ends_with("STORE") {
            let [left, right] = [&words[0], &words[1]].map(|key| match self.keys.get(key) {
                Some(Content::Set(members)) => members.clone(),
                _ => BTreeSet::new(),
            });
            let stored = match name {
                "SUNIONSTORE" => &left | &right,
                "SINTERSTORE" => &left & &right,
                _ => &left - &right,
            };
            self.keys.insert(key.clone(), Content::Set(stored));
            return;
        }
        if name == "XDEL" && !self.keys.contains_key(key) {
            return;
        }
        let content = self.keys.entry(key.clone()).or_insert_with(|| Content::new(name));
        match (name, content) {
            ("SET", content) => *content = Content::Text(words[0].clone()),
            ("HSET", Content::Hash(fields)) => drop(fields.insert(words[0].clone(), words[1].clone())),
            ("HDEL", Content::Hash(fields)) => words.iter().for_each(|field| drop(fields.remove(field))),
            ("RPUSH", Content::List(items)) => items.extend_from_slice(words),
            ("LPOP", Content::List(items)) => drop((!items.is_empty()).then(|| items.remove(0))),
            ("SADD", Content::Set(members)) => members.extend(words.iter().cloned()),
            ("SREM", Content::Set(members)) => members.retain(|member| !words.contains(member)),
            ("ZADD", Content::Zset(scores)) => drop(scores.insert(words[1].clone(), words[0].clone())),
            ("XADD", Content::Stream(entries)) => {
                let (id, value) = (&words[words.len() - 3], &words[words.len() - 1]);
                entries.push((id.clone(), value.clone()));
                if words[0] == "MAXLEN" && entries.len() > 40 {
                    entries.drain(..entries.len() - 40);
                }
            }
            ("XDEL", Content::Stream(entries)) => entries.retain(|(id, _)| *id != words[0]),
            ("ZREM", Content::Zset(scores)) => words.iter().for_each(|word| drop(scores.remove(word))),
            (other, content) => panic!("the model knows no {other} of {content:?}"),
        }
    }
}

impl Content {
    /// What a command of this name begins with where there is no key.
    fn new(command: &str) -> Content {
        match command.as_bytes()[0] {
            b'H' => Content::Hash(BTreeMap::new()),
            b'L' | b'R' => Content::List(Vec::new()),
            b'Z' => Content::Zset(BTreeMap::new()),
            b'X' => Content::Stream(Vec::new()),
            _ if command == "SET" => Content::Text(String::new()),
            _ => Content::Set(BTreeSet::new()),
        }
    }

    /// A collection without elements is no key.
    fn is_empty(&self) -> bool {
        match self {
            Content::Text(_) | Content::Stream(_) => false,
            Content::List(items) => items.is_empty(),
            Content::Set(members) => members.is_empty(),
            Content::Hash(pairs) | Content::Zset(pairs) => pairs.is_empty(),
        }
    }
}

/// What one writer knows about itself over all rounds.
struct Ledger {
    /// The state after `settled` operations: what the last check found.
    model: Model,
    settled: u64,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    /// The highest operation whose value a reader got.
    shown: AtomicU64,
}

impl Ledger {
    fn new() -> Ledger {
        let zero = || AtomicU64::new(0);
        Ledger { model: Model::default(), settled: 0, sent: zero(), acknowledged: zero(), shown: zero() }
    }
}

/// Sends operations until the connection breaks.
fn write(mut client: Client, writer: usize, seed: u64, ledger: &Ledger) {
    let mut chance = Chance::new(seed ^ ledger.settled);
    let mut waiting: Vec<usize> = Vec::new();
    loop {
        let mut request = Vec::new();
        for _ in 0..=chance.below(AHEAD_MAX) {
            let n = ledger.sent.fetch_add(1, Ordering::SeqCst) + 1;
            let commands = operation(writer, seed, n).commands;
            let is_transaction = commands.len() > 1;
            if is_transaction {
                encode(&["MULTI"], &mut request);
            }
            commands.iter().for_each(|command| encode(command, &mut request));
            if is_transaction {
                encode(&["EXEC"], &mut request);
            }
            waiting.push(if is_transaction { commands.len() + 2 } else { 1 });
        }
        if client.send_raw(&request).is_err() {
            return;
        }
        for replies in waiting.drain(..) {
            for _ in 0..replies {
                match client.read() {
                    Value::Closed => return,
                    Value::Error(text) => panic!("writer {writer}: {}", String::from_utf8_lossy(&text)),
                    _ => {}
                }
            }
            ledger.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Reads writers' keys until the connection breaks, and notes the highest operation seen of each.
fn read(mut client: Client, reader: u64, ledgers: &[Ledger]) {
    let mut chance = Chance::new(reader);
    loop {
        let writer = chance.below(WRITERS as u64) as usize;
        let small = chance.below(5);
        let line = match chance.below(7) {
            0 => format!("GET w{writer}:text:{small}"),
            1 => format!("HGET w{writer}:hash:{small} f{}", chance.below(30)),
            2 => format!("HVALS w{writer}:hash:{small}"),
            3 => format!("LRANGE w{writer}:list:{small} -1 -1"),
            4 => format!("SMEMBERS w{writer}:set:{small}"),
            5 => format!("ZSCORE w{writer}:zset:{small} {}", zset_member(chance.below(30))),
            _ => format!("MGET w{writer}:pair:left w{writer}:pair:right"),
        };
        let reply = client.run(&line);
        match &reply {
            Value::Closed => return,
            Value::Error(text) => panic!("{line}: {}", String::from_utf8_lossy(text)),
            Value::Array(ends) if line.starts_with("MGET") => {
                assert_eq!(ends[0], ends[1], "{line}: half a transaction")
            }
            _ => {}
        }
        let values = if let Value::Array(items) = &reply { items.clone() } else { vec![reply] };
        for value in values.iter().filter_map(Value::bytes) {
            let text = String::from_utf8_lossy(value);
            let number = text.split(':').next().and_then(|n| n.parse::<u64>().ok());
            let number = number.unwrap_or_else(|| panic!("{line} answered {text:?}"));
            ledgers[writer].shown.fetch_max(number, Ordering::SeqCst);
        }
    }
}

/// All keys of a writer, read from the server.
fn read_content(client: &mut Client, writer: usize) -> BTreeMap<String, Content> {
    let mut found = BTreeMap::new();
    let mut keys: Vec<String> = vec![format!("w{writer}:pair:left"), format!("w{writer}:pair:right")];
    for kind in KINDS {
        keys.extend((0..5).map(|small| format!("w{writer}:{kind}:{small}")));
    }
    for key in keys {
        let texts = |value: Value| value.items().iter().map(Value::text).collect::<Vec<_>>();
        let content = match client.run(&format!("TYPE {key}")).text().as_str() {
            "none" => continue,
            "string" => Content::Text(client.run(&format!("GET {key}")).text()),
            "list" => Content::List(texts(client.run(&format!("LRANGE {key} 0 -1")))),
            "hash" => {
                let flat = texts(client.run(&format!("HGETALL {key}")));
                assert_eq!(client.run(&format!("HLEN {key}")).integer(), flat.len() as i64 / 2, "HLEN {key}");
                Content::Hash(flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
            }
            "set" => {
                let members = texts(client.run(&format!("SMEMBERS {key}")));
                assert_eq!(
                    client.run(&format!("SCARD {key}")).integer(),
                    members.len() as i64,
                    "SCARD {key}"
                );
                Content::Set(members.into_iter().collect())
            }
            "zset" => read_zset(client, &key),
            "stream" => read_stream(client, &key),
            other => panic!("{key} is a {other}"),
        };
        found.insert(key, content);
    }
    found
}

/// A stream, whose length and last id must fit its entries.
fn read_stream(client: &mut Client, key: &str) -> Content {
    let entries: Vec<(String, String)> = client
        .run(&format!("XRANGE {key} - +"))
        .items()
        .into_iter()
        .map(|entry| {
            let [id, words] = &entry.items()[..] else { panic!("{key}: {}", entry.render()) };
            (id.text(), words.items()[1].text())
        })
        .collect();
    assert_eq!(client.run(&format!("XLEN {key}")).integer(), entries.len() as i64, "XLEN {key}");
    let newest = client.run(&format!("XREVRANGE {key} + - COUNT 1")).items();
    assert_eq!(newest.first().map(|entry| entry.items()[0].text()), entries.last().map(|(id, _)| id.clone()));
    Content::Stream(entries)
}

/// A sorted set, which must be the same by its scores, by its members, and by its length.
fn read_zset(client: &mut Client, key: &str) -> Content {
    let pairs = |value: Value| -> Vec<(String, String)> {
        let flat: Vec<String> = value.items().iter().map(Value::text).collect();
        flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    };
    let by_score = pairs(client.run(&format!("ZRANGE {key} 0 -1 WITHSCORES")));
    let rank = |(member, score): &(String, String)| (score.parse::<u64>().unwrap(), member.clone());
    assert!(by_score.is_sorted_by_key(rank), "{key}: {by_score:?}");
    assert_eq!(client.run(&format!("ZCARD {key}")).integer(), by_score.len() as i64, "ZCARD {key}");
    let by_member = client.run(&format!("ZSCAN {key} 0 COUNT 1000")).items();
    assert_eq!(by_member[0].text(), "0", "ZSCAN {key}");
    let scores: BTreeMap<String, String> = by_score.into_iter().collect();
    assert_eq!(pairs(by_member[1].clone()).into_iter().collect::<BTreeMap<_, _>>(), scores, "ZSCAN {key}");
    Content::Zset(scores)
}

/// Finds the operation after which the writer's keys are what they are now, and checks that it reaches far enough.
fn settle(client: &mut Client, writer: usize, seed: u64, ledger: &mut Ledger) {
    let content = read_content(client, writer);
    let sent = ledger.sent.load(Ordering::SeqCst);
    let acknowledged = ledger.acknowledged.load(Ordering::SeqCst);
    let shown = ledger.shown.load(Ordering::SeqCst);
    let mut model = ledger.model.clone();
    let mut matched = (model.keys == content).then_some((ledger.settled, model.clone()));
    let mut at_acknowledged = model.clone();
    for n in ledger.settled + 1..=sent {
        model.apply(&operation(writer, seed, n));
        if model.keys == content {
            matched = Some((n, model.clone()));
        }
        if n == acknowledged {
            at_acknowledged = model.clone();
        }
    }
    let story =
        format!("writer {writer}: sent {sent}, acknowledged {acknowledged}, shown to readers {shown}");
    let Some((found, model)) = matched else {
        let missing = differing_keys(&content, &at_acknowledged.keys);
        panic!(
            "{story}; its keys are the state after none of its operations. Against the last acknowledged:\n{missing}"
        );
    };
    assert!(found >= acknowledged, "{story}; the state is that after {found}: acknowledged writes are lost");
    assert!(found >= shown, "{story}; the state is that after {found}: values that readers saw are lost");
    // What was sent and did not arrive is sent again in the next round, under the same numbers.
    ledger.model = model;
    ledger.settled = found;
    for counter in [&ledger.sent, &ledger.acknowledged, &ledger.shown] {
        counter.store(found, Ordering::SeqCst);
    }
}

fn differing_keys(found: &BTreeMap<String, Content>, wanted: &BTreeMap<String, Content>) -> String {
    let keys: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    let differing = keys.into_iter().filter(|key| found.get(*key) != wanted.get(*key));
    let show = |content: Option<&Content>| {
        let text = format!("{content:?}");
        text.chars().take(400).collect::<String>()
    };
    let lines = differing
        .map(|key| format!("  {key}: is {}\n    should be {}", show(found.get(key)), show(wanted.get(key))));
    lines.collect::<Vec<_>>().join("\n")
}

/// DBSIZE against the keys a whole SCAN gives.
fn check_size(client: &mut Client, expected: usize) {
    let mut cursor = "0".to_string();
    let mut keys = BTreeSet::new();
    loop {
        let page = client.run(&format!("SCAN {cursor} COUNT 100")).items();
        keys.extend(page[1].items().iter().map(Value::text));
        cursor = page[0].text();
        if cursor == "0" {
            break;
        }
    }
    let size = client.run("DBSIZE").integer();
    assert_eq!(
        (size, keys.len()),
        (expected as i64, expected),
        "DBSIZE, the keys of a SCAN, and the keys there should be"
    );
}

/// One round: load, kill in the middle of it, start again, look.
fn round(server: &mut Server, seed: u64, ledgers: &mut [Ledger], writes: u64) {
    let stop = AtomicBool::new(false);
    let before: u64 = ledgers.iter().map(|ledger| ledger.settled).sum();
    std::thread::scope(|scope| {
        let shared: &[Ledger] = ledgers;
        let broke = &stop;
        let mut threads = Vec::new();
        for (writer, ledger) in shared.iter().enumerate() {
            let client = server.client();
            threads.push(scope.spawn(move || write(client, writer, seed, ledger)));
        }
        for reader in 0..READERS {
            let client = server.client();
            threads.push(scope.spawn(move || read(client, seed ^ reader as u64, shared)));
        }
        let limit = Instant::now() + Duration::from_secs(ROUND_TIMEOUT_S);
        let done = || shared.iter().map(|l| l.acknowledged.load(Ordering::SeqCst)).sum::<u64>() - before;
        while done() < writes && !broke.load(Ordering::SeqCst) {
            // A thread that ended now did so with a panic: kill, so that the others end too.
            if threads.iter().any(|thread| thread.is_finished()) || Instant::now() > limit {
                broke.store(true, Ordering::SeqCst);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        server.kill();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    assert!(!stop.load(Ordering::SeqCst), "the load stopped by itself; the log:\n{}", server.log());
    server.start_again();
    let mut client = server.client();
    for (writer, ledger) in ledgers.iter_mut().enumerate() {
        settle(&mut client, writer, seed, ledger);
    }
    check_size(&mut client, ledgers.iter().map(|ledger| ledger.model.keys.len()).sum());
}

/// Rounds of kill -9 on one folder; the fsync policy changes with each start.
fn run(policies: &[&str]) {
    let seed = seed();
    eprintln!("crash: TUFF_SEED={seed}");
    let mut chance = Chance::new(seed);
    // See `durable_options`: the oracle in Tuff's place is held to less.
    let policies = if subject_is_oracle() { &["always"] } else { policies };
    let options = |start: usize| {
        let mut options = vec!["--appendonly", "yes", "--appendfsync", policies[start % policies.len()]];
        if !subject_is_oracle() {
            options.extend(["--packed-max-bytes", if start.is_multiple_of(2) { "64" } else { "1kb" }]);
        }
        options
    };
    let mut server = Server::tuff(&options(0));
    let mut ledgers: Vec<Ledger> = (0..WRITERS).map(|_| Ledger::new()).collect();
    for number in 0..number_from_env("TUFF_CRASH_ROUNDS", 5) as usize {
        server.set_options(&options(number + 1));
        let writes = 500 + chance.below(20_000);
        round(&mut server, seed, &mut ledgers, writes);
    }
}

#[test]
fn nothing_acknowledged_or_shown_is_lost_by_kill_9_with_everysec() {
    run(&["everysec"]);
}

#[test]
fn nothing_acknowledged_or_shown_is_lost_by_kill_9_with_always() {
    run(&["always", "always", "everysec"]);
}

#[test]
fn a_lost_write_is_seen() {
    let server = Server::redis(&[]);
    let mut client = server.client();
    let mut ledger = Ledger::new();
    for n in 1..=200 {
        let operation = operation(0, 7, n);
        operation.commands.iter().for_each(|command| drop(client.call(command)));
    }
    ledger.sent.store(205, Ordering::SeqCst);
    ledger.acknowledged.store(200, Ordering::SeqCst);
    settle(&mut client, 0, 7, &mut ledger);
    check_size(&mut client, ledger.model.keys.len());
    assert!(ledger.settled >= 200);

    let fails = |client: &mut Client, change: &str, ledger: &Ledger| {
        client.run(change);
        let mut copy = Ledger { model: Model::default(), ..Ledger::new() };
        copy.sent.store(205, Ordering::SeqCst);
        copy.acknowledged.store(ledger.settled, Ordering::SeqCst);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| settle(client, 0, 7, &mut copy))).is_err()
    };
    assert!(!fails(&mut client, "PING", &ledger));
    for (kind, changes) in [
        ("set", ["SADD {} 0", "SREM {} 0"]),
        ("zset", ["ZADD {} 0 new", "ZREM {} new"]),
        ("list", ["RPUSH {} 0", "RPOP {}"]),
        ("hash", ["HSET {} new 0", "HDEL {} new"]),
    ] {
        let [wrong, right] = changes.map(|change| change.replace("{}", &format!("w0:{kind}:0")));
        assert!(fails(&mut client, &wrong, &ledger), "{wrong}");
        assert!(!fails(&mut client, &right, &ledger), "{right}");
    }
    assert!(fails(&mut client, "SET w0:pair:left 1", &ledger));
}
