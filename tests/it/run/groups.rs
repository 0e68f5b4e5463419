//! Commands that are committed together: one write, and nobody can tell.

use super::{House, bulk, burst, is_misconf, send_burst, wait_until};
use crate::value::Value;
use std::sync::Arc;
use tuffdb::base::random::Rng;
use tuffdb::dispatch::prepare::{Prepared, prepare};
use tuffdb::dispatch::run::{Bench, Request, Runner, can_join, identify, join};
use tuffdb::encoding::row::RowKey;
use tuffdb::resp::OwnedArgs;
use tuffdb::session::{Multi, Queued, Session, Watched};

/// Turns that a burst of a hundred commands takes, at most: a worker that others keep off the processor has short ones.
const TURNS_MAX: u64 = 50;

/// Rows written so far.
fn sequence(house: &House) -> u64 {
    house.store().with_db(|db| db.latest_sequence()).unwrap()
}

/// A number or a string, as text.
fn said(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Error(text) => String::from_utf8_lossy(text).into_owned(),
        other => other.text(),
    }
}

#[test]
fn a_row_that_a_burst_writes_often_is_written_once() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("SET n 0");
    let before = sequence(&house);
    let replies = burst(&mut client, &["INCR n"; 100]);
    assert_eq!(replies.last(), Some(&Value::Integer(100)));
    // Once for each turn of the worker's loop: a burst is cut into several where the machine is slow.
    let written = sequence(&house) - before;
    assert!((1..=TURNS_MAX).contains(&written), "{written} rows written for 100 increments");
    // A hundred new keys: a head each, and, for each turn, one row that counts them.
    let lines: Vec<String> = (0..100).map(|n| format!("SET new{n} x")).collect();
    let before = sequence(&house);
    burst(&mut client, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let written = sequence(&house) - before - 100;
    assert!((1..=TURNS_MAX).contains(&written), "{written} rows more than keys");
    assert_eq!(house.check_size(0), 101);
}

#[test]
fn a_command_sees_what_those_before_it_in_the_burst_have_written() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    let replies = burst(
        &mut client,
        &[
            "SET k 1",
            "INCR k",
            "GET k",
            "LPUSH k x",
            "APPEND k 0",
            "SETNX k 7",
            "HSET h f v",
            "HGET h f",
            "DEL h k",
            "EXISTS h k",
            "SETRANGE k 536870912 x",
            "SET k last",
            "DBSIZE",
            "GET k",
        ],
    );
    let texts: Vec<String> = replies.iter().map(said).collect();
    assert_eq!(texts[1..3], ["2", "2"]);
    assert!(texts[3].starts_with("WRONGTYPE"), "{}", texts[3]);
    assert_eq!(texts[4..10], ["2", "0", "1", "v", "2", "0"]);
    assert_eq!(texts[10], "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_eq!(texts[11..], ["OK", "1", "last"]);
}

#[test]
fn a_group_that_stalls_is_run_again_command_by_command() {
    let house = House::start(&["--workers", "1"]);
    let (mut first, mut second) = (house.client(), house.client());
    first.ok("SET n 0");
    let stalled = house.figures().stalled_runs();
    house.faults().stall_writes(3);
    send_burst(&mut first, &["INCR n", "INCR n", "PING", "INCR n", "GET n"]);
    send_burst(&mut second, &["INCR m", "INCR m"]);
    let replies: Vec<String> = (0..5).map(|_| said(&first.read())).collect();
    assert_eq!(replies, ["1", "2", "PONG", "3", "3"]);
    assert_eq!([second.read(), second.read()], [Value::Integer(1), Value::Integer(2)]);
    assert!(house.figures().stalled_runs() >= stalled + 3);
    assert_eq!(first.run("GET n"), bulk("3"));
}

#[test]
fn a_monitor_is_shown_once_what_has_stalled_and_was_run_again() {
    let house = House::start(&["--workers", "1"]);
    let (mut client, mut monitor) = (house.client(), house.client());
    monitor.ok("MONITOR");
    house.faults().stall_writes(1);
    assert_eq!(client.run("INCR n"), Value::Integer(1));
    client.ok("SET last x");
    let mut shown = || {
        String::from_utf8(match monitor.read() {
            Value::Simple(line) => line,
            other => panic!("not a line: {other:?}"),
        })
        .unwrap()
    };
    assert!(shown().contains("\"INCR\""));
    assert!(shown().contains("\"SET\""));
}

#[test]
fn a_group_whose_write_fails_tells_everybody_in_it() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("SET kept 1");
    house.faults().fail_write();
    let replies = burst(&mut client, &["SET a 1", "INCR kept", "GET kept", "APPEND a x"]);
    assert!(replies.iter().all(is_misconf), "{replies:?}");
    wait_until("writes go through", || client.run("SET again 1").is_ok());
    assert_eq!(client.run("GET a"), Value::NullBulk);
    assert_eq!(client.run("GET kept"), bulk("1"));
    assert_eq!(house.check_size(0), 2);
}

#[test]
fn a_watch_in_a_group_whose_write_fails_watches_nothing() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    house.faults().fail_write();
    let replies = burst(&mut client, &["SET k v", "WATCH k"]);
    assert!(replies.iter().all(is_misconf), "{replies:?}");
    assert!(house.keyspace().watches().is_empty());
}

#[test]
fn whoever_waits_for_a_key_comes_before_the_burst_that_feeds_it() {
    let house = House::start(&["--workers", "1"]);
    let (mut waiting, mut client) = (house.client(), house.client());
    send_burst(&mut waiting, &["BLPOP queue 0"]);
    wait_until("it waits", || house.keyspace().waiters().len() == 1);
    let replies =
        burst(&mut client, &["SET other 1", "RPUSH queue a", "LPOP queue", "RPUSH queue b", "LPOP queue"]);
    assert_eq!(waiting.read(), super::pair("queue", "a"));
    assert_eq!(replies[2], Value::NullBulk);
    assert_eq!(replies[4], bulk("b"));
}

#[test]
fn a_transaction_in_a_group_is_run_once_however_often_its_end_is_said() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    let replies = burst(&mut client, &["MULTI", "INCR n", "EXEC", "EXEC", "INCR m"]);
    assert_eq!(replies[2], Value::Array(vec![Value::Integer(1)]));
    assert_eq!(said(&replies[3]), "ERR EXEC without MULTI");
    assert_eq!(replies[4], Value::Integer(1));
    assert_eq!(client.run("GET n"), bulk("1"));
}

#[test]
fn two_workers_with_bursts_over_the_same_keys_lose_nothing() {
    const ROUNDS: i64 = 40;
    let house = House::start(&["--workers", "2"]);
    let lines: Vec<String> = (0..60).map(|n| format!("INCR n{}", n % 20)).collect();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (house, lines) = (&house, &lines);
            scope.spawn(move || {
                let mut own: Vec<&str> = lines.iter().map(String::as_str).collect();
                // Each in another order, so that they meet each other's locks in every way.
                own.rotate_left(client * 7);
                let mut client = house.client();
                for _ in 0..ROUNDS {
                    assert!(burst(&mut client, &own).iter().all(|reply| matches!(reply, Value::Integer(_))));
                }
            });
        }
    });
    let mut client = house.client();
    for n in 0..20 {
        assert_eq!(client.run(&format!("GET n{n}")), bulk(&(4 * 3 * ROUNDS).to_string()));
    }
    assert_eq!(house.check_size(0), 20);
}

#[test]
fn a_reply_that_is_left_out_takes_none_of_those_behind_it_along() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    send_burst(&mut client, &["CLIENT REPLY SKIP", "SET k v", "APPEND k w", "GET k"]);
    assert_eq!(client.read(), Value::Integer(2));
    assert_eq!(client.read(), bulk("vw"));
}

#[test]
fn locks_and_gate_are_free_once_a_burst_is_answered() {
    let house = House::start(&["--workers", "2"]);
    let mut client = house.client();
    for _ in 0..20 {
        burst(&mut client, &["SET a 1", "SETNX a 2", "GET missing", "DEL missing", "HSET h f v"]);
        // These need the gate, and then the locks of all keys, for themselves.
        assert!(house.client().run("FLUSHALL").is_ok());
    }
    assert_eq!(house.check_size(0), 0);
}

/// A connection that has queued these and will now send EXEC.
fn about_to_exec(house: &House, queue: &[&[&[u8]]]) -> Session {
    let address = "127.0.0.1:1".parse().unwrap();
    let mut session = Session::new(house.node().clients.add(address, address, -1), true);
    let queued = |words: &&[&[u8]]| {
        let args = OwnedArgs::from_slices(words);
        let Ok(entry) = house.node().table.find(args.args()) else { panic!("an unknown command") };
        Queued { command: entry.index, args }
    };
    let queue = queue.iter().map(queued).collect();
    session.multi = Some(Arc::new(Multi { queue, ..Multi::default() }));
    session
}

#[test]
fn transactions_over_the_same_keys_are_one_write() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("MSET one 0 two 0");
    let node = house.node();
    let session = about_to_exec(&house, &[&[b"INCR", b"one"], &[b"INCR", b"two"]]);
    let exec = OwnedArgs::from_slices(&[b"EXEC"]);
    let (mut bench, mut rng) = (Bench::of_worker(0), Rng::new(1));
    client.ok("WATCH two");
    let before = sequence(&house);
    for round in 1..=50 {
        let Prepared::Run(entry) = prepare(node, &session, exec.args()) else { panic!("EXEC is refused") };
        let run = identify(node.clock.now_us(), &mut rng);
        let request = Request {
            session: &session,
            entry,
            args: exec.args(),
            run: &run,
            waiter: None,
            looks_again: None,
        };
        assert!(can_join(node, &request));
        let mut out = Vec::new();
        let runner = Runner { node, worker: 0 };
        let ran = join(&runner, &mut bench, &request, &mut out).unwrap_or_else(|_| panic!("it is paused"));
        assert!(ran.pending && ran.ends_multi && !ran.urgent);
        assert_eq!(out, format!("*2\r\n:{round}\r\n:{round}\r\n").into_bytes());
    }
    assert_eq!(sequence(&house), before, "nothing is written before the group is settled");
    bench.group.settle(&node.keyspace, &node.clock);
    assert_eq!(sequence(&house) - before, 2, "rows written for 50 transactions over two keys");
    assert_eq!(burst(&mut client, &["MULTI", "SET two 0", "EXEC"])[2], Value::NullArray, "it watches");
    assert_eq!(client.run("GET two"), bulk("50"));
}

#[test]
fn what_a_command_sees_of_its_group_is_pending() {
    let house = House::start(&["--workers", "1"]);
    let node = house.node();
    let mut session = about_to_exec(&house, &[]);
    session.multi = None;
    let (mut bench, mut rng) = (Bench::of_worker(0), Rng::new(1));
    let mut is_pending = |words: &[&[u8]]| {
        let args = OwnedArgs::from_slices(words);
        let Prepared::Run(entry) = prepare(node, &session, args.args()) else { panic!("it is refused") };
        let run = identify(node.clock.now_us(), &mut rng);
        let (session, args) = (&session, args.args());
        let request = Request { session, entry, args, run: &run, waiter: None, looks_again: None };
        let mut out = Vec::new();
        let ran = join(&Runner { node, worker: 0 }, &mut bench, &request, &mut out);
        ran.unwrap_or_else(|_| panic!("it is paused")).pending
    };
    assert!(is_pending(&[b"SET", b"k", b"v"]));
    assert!(is_pending(&[b"GET", b"k"]));
    assert!(is_pending(&[b"LPUSH", b"k", b"x"]), "an error tells what the key is");
    assert!(
        is_pending(&[b"EVAL", b"return redis.call('GET', 'k')", b"1", b"other"]),
        "it comes upon the key"
    );
    assert!(!is_pending(&[b"GET", b"other"]));
    bench.group.settle(&node.keyspace, &node.clock);
}

#[test]
fn a_transaction_that_watches_or_asks_for_more_than_keys_runs_by_itself() {
    let house = House::start(&["--workers", "1"]);
    let node = house.node();
    let exec = OwnedArgs::from_slices(&[b"EXEC"]);
    let joins = |session: &Session| {
        let Prepared::Run(entry) = prepare(node, session, exec.args()) else { panic!("EXEC is refused") };
        let run = identify(node.clock.now_us(), &mut Rng::new(1));
        can_join(
            node,
            &Request { session, entry, args: exec.args(), run: &run, waiter: None, looks_again: None },
        )
    };
    let mut session = about_to_exec(&house, &[&[b"INCR", b"n"], &[b"GET", b"m"]]);
    assert!(joins(&session));
    let (name, row) = (Arc::from(&b"n"[..]), RowKey::from_slice(b"n"));
    session.watched.insert(Watched { database: 0, name, row, expires_at_ms: None, existed: false });
    assert!(!joins(&session));
    assert!(!joins(&about_to_exec(&house, &[&[b"INCR", b"n"], &[b"DBSIZE"]])));
    assert!(!joins(&about_to_exec(&house, &[&[b"EVAL", b"return 1", b"1", b"n"]])));
    assert!(!joins(&about_to_exec(&house, &[&[b"BLPOP", b"n", b"0"]])));
    assert!(!joins(&about_to_exec(&house, &[&[b"SINTERCARD", b"1", b"n"], &[b"FLUSHALL"]])));
}

#[test]
fn a_transaction_in_a_group_that_stalls_or_fails_is_over_after_it() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("SET n 0");
    let transaction = ["MULTI", "INCR n", "INCR n", "EXEC"];
    house.faults().stall_writes(1);
    let both = Value::Array(vec![Value::Integer(1), Value::Integer(2)]);
    assert_eq!(burst(&mut client, &transaction)[3], both);
    house.faults().fail_write();
    assert!(is_misconf(&burst(&mut client, &transaction)[3]));
    assert_eq!(said(&client.run("EXEC")), "ERR EXEC without MULTI");
    wait_until("writes go through", || client.run("SET again 1").is_ok());
    // The next transaction begins while the one before is not written yet.
    let replies = burst(&mut client, &[transaction, transaction].concat());
    assert_eq!(replies[7], Value::Array(vec![Value::Integer(5), Value::Integer(6)]));
}
