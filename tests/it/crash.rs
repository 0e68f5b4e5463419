//! kill -9 under load, with ledgers: nothing acknowledged, and nothing a reader was shown, is lost.
//!
//! Each writer has keys of its own and writes a numbered list of operations that follows from its seed alone: number n is always
//! the same operation, and every value carries its number. So the state after n operations is known (`Model`), and after a crash
//! the writer's keys must be exactly the state after some n: not a mix, and not half a transaction. That n must reach at least
//! the last operation that was acknowledged and the last whose value a reader saw; operations that were sent and not answered
//! may be there or not. Writers go on from there in the next round. DBSIZE must be what a whole SCAN counts.
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

/// The writer's operation number `n`; operations count from 1.
fn operation(writer: usize, seed: u64, n: u64) -> Operation {
    let mut chance = Chance::new(seed ^ (writer as u64) << 48 ^ n.wrapping_mul(0x9E37_79B9));
    let small = chance.below(5);
    let key = |kind: &str| format!("w{writer}:{kind}:{small}");
    let words = |list: &[&str]| list.iter().map(|w| w.to_string()).collect::<Vec<String>>();
    let number = n.to_string();
    let one = |list: &[&str]| Operation { commands: vec![words(list)] };
    match chance.below(14) {
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
        8 | 9 => one(&["RPUSH", &key("list"), &number]),
        10 => one(&["LPOP", &key("list")]),
        11 => {
            // The pair is whole or absent: a reader that gets both in one MGET must see one number.
            let set = |end: &str| words(&["SET", &format!("w{writer}:pair:{end}"), &number]);
            let mark = words(&["HSET", &key("hash"), "pair", &number]);
            Operation { commands: vec![set("left"), mark, set("right")] }
        }
        12 => one(&["HDEL", &key("hash"), &format!("f{}", chance.below(30)), "pair"]),
        _ => one(&["DEL", &key(["text", "hash", "list"][chance.below(3) as usize])]),
    }
}

impl Model {
    fn apply(&mut self, operation: &Operation) {
        for command in &operation.commands {
            let (name, key) = (command[0].as_str(), command[1].clone());
            match name {
                "SET" => {
                    self.keys.insert(key, Content::Text(command[2].clone()));
                }
                "HSET" => {
                    let hash = self.keys.entry(key).or_insert_with(|| Content::Hash(BTreeMap::new()));
                    if let Content::Hash(fields) = hash {
                        fields.insert(command[2].clone(), command[3].clone());
                    }
                }
                "HDEL" => {
                    if let Some(Content::Hash(fields)) = self.keys.get_mut(&key) {
                        command[2..].iter().for_each(|field| drop(fields.remove(field)));
                        if fields.is_empty() {
                            self.keys.remove(&key);
                        }
                    }
                }
                "RPUSH" => {
                    let list = self.keys.entry(key).or_insert_with(|| Content::List(Vec::new()));
                    if let Content::List(items) = list {
                        items.push(command[2].clone());
                    }
                }
                "LPOP" => {
                    if let Some(Content::List(items)) = self.keys.get_mut(&key) {
                        items.remove(0);
                        if items.is_empty() {
                            self.keys.remove(&key);
                        }
                    }
                }
                "DEL" => drop(self.keys.remove(&key)),
                other => panic!("the model knows no {other}"),
            }
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
        let line = match chance.below(5) {
            0 => format!("GET w{writer}:text:{small}"),
            1 => format!("HGET w{writer}:hash:{small} f{}", chance.below(30)),
            2 => format!("HVALS w{writer}:hash:{small}"),
            3 => format!("LRANGE w{writer}:list:{small} -1 -1"),
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
    for kind in ["text", "hash", "list"] {
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
                Content::Hash(flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
            }
            other => panic!("{key} is a {other}"),
        };
        found.insert(key, content);
    }
    found
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
    let policies: Vec<[&str; 4]> =
        policies.iter().map(|p| ["--appendonly", "yes", "--appendfsync", p]).collect();
    let mut server = Server::tuff(&policies[0]);
    let mut ledgers: Vec<Ledger> = (0..WRITERS).map(|_| Ledger::new()).collect();
    for number in 0..number_from_env("TUFF_CRASH_ROUNDS", 5) as usize {
        server.set_options(&policies[(number + 1) % policies.len()]);
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
    assert!(fails(&mut client, "SET w0:pair:left 1", &ledger));
}
