//! Stalls, a log that cannot be written, a folder that cannot be opened.

use super::{House, RaiseAtEnd, bulk, burst, is_misconf, send_burst, wait_until};
use crate::value::Value;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Duration;
use tuffdb::encoding::head::{Body, DataType};
use tuffdb::keyspace::{Holder, LockPlan, Mode, NewHead, Outcome, RunIdentity, Scratch, Txn};
use tuffdb::store::Tier;

#[test]
fn a_stalled_write_is_tried_again_until_it_goes_through_and_reads_go_on() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("SET k old");
    house.faults().stall_writes(5);
    client.ok("SET k new");
    assert_eq!(house.figures().stalled_runs(), 5);
    // A stall without end: the write waits, others do not.
    house.faults().stall_writes(u32::MAX >> 1);
    send_burst(&mut client, &["SET k newest"]);
    wait_until("the write is stalled", || house.figures().stalled_runs() > 5);
    let mut other = house.client();
    assert_eq!(other.run("GET k"), bulk("new"));
    house.faults().stall_writes(0);
    assert!(client.read().is_ok());
    assert_eq!(other.run("GET k"), bulk("newest"));
}

#[test]
fn writes_that_would_wait_for_room_on_a_nearly_full_disk_are_refused_and_hold_up_nobody() {
    let house = House::start(&["--workers", "2"]);
    let (mut client, mut stalled, mut on_pool) = (house.client(), house.client(), house.client());
    client.ok("SET k v");
    house.faults().stop_writes(true);
    send_burst(&mut stalled, &["SET k lost"]);
    // Too long for a worker: on the pool the commit itself waits, with its locks and inside the gate.
    let script = "local n = 0 for i = 1, 3000000 do n = n + i end return redis.call('SET', KEYS[1], n)";
    on_pool.send(&["EVAL", script, "1", "sum"]).unwrap();
    wait_until("a write is stalled", || house.figures().stalled_runs() > 0);
    assert!(is_misconf(&stalled.read()));
    assert!(is_misconf(&client.run("SET another v")));
    assert!(matches!(on_pool.read(), Value::Error(_)));
    // The database has been opened again by then, or will be, and takes no writes still.
    wait_until("it was opened again", || house.store().reopens() > 0);
    for _ in 0..100 {
        assert_eq!(client.run("GET k"), bulk("v"));
        assert!(is_misconf(&client.run("SET k w")));
    }
    house.faults().stop_writes(false);
    wait_until("writes go through", || client.run("SET k w").is_ok());
    assert_eq!(client.run("EXISTS sum another"), Value::Integer(0));
}

#[test]
fn a_script_that_a_reopen_ends_says_so() {
    capture_log();
    let house = House::start(&["--workers", "2"]);
    let (mut client, mut running) = (house.client(), house.client());
    client.ok("SET k v");
    // KEYS is for the pool alone: whoever gets beyond it is there. Only what has written its key is ended, what comes to it
    // later is refused.
    let script = "redis.call('KEYS', 'none') redis.call('INCR', KEYS[1])
        redis.log(redis.LOG_WARNING, ARGV[1]) while true do end";
    let written = house.store().path().display().to_string();
    running.send(&["EVAL", script, "1", "n", &written]).unwrap();
    wait_until("it has written", || !logged(&house).is_empty());
    house.faults().fail_wal(true, false);
    assert!(is_misconf(&client.run("SET k w")));
    house.faults().fail_wal(false, false);
    let said = running.read().render();
    assert!(said.starts_with("-ERR the script was ended and has changed nothing"), "{said}");
    wait_until("writes go through", || client.run("SET k v").is_ok());
    assert_eq!(client.run("EXISTS n"), Value::Integer(0));
}

#[test]
fn replies_that_rest_on_a_log_that_was_not_written_are_errors() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("SET kept 1");
    house.faults().fail_wal(true, false);
    let replies = burst(&mut client, &["SET a 1", "GET a", "INCR kept", "GET kept", "RPUSH l x"]);
    assert!(replies.iter().all(is_misconf), "{replies:?}");
    house.faults().fail_wal(false, false);
    wait_until("writes go through", || client.run("SET again 1").is_ok());
    assert_eq!(client.run("GET a"), Value::NullBulk);
    assert_eq!(client.run("GET kept"), bulk("1"));
    assert_eq!(client.run("EXISTS l"), Value::Integer(0));
    assert!(house.store().reopens() > 0);
    assert_eq!(house.check_size(0), 2);
}

#[test]
fn a_reply_from_before_a_reopen_is_an_error_whatever_ran_behind_it() {
    let house = House::start(&["--workers", "1", "--appendfsync", "no"]);
    let (mut client, mut other) = (house.client(), house.client());
    client.ok("SET n 1");
    let (stripes, stripe) = (house.keyspace().stripes(), house.stripe("held"));
    assert!(stripes.acquire(stripe, true, tuffdb::keyspace::Holder::Pool));
    let parked = house.figures().parked_runs();
    send_burst(&mut client, &["INCR n", "GET held"]);
    wait_until("the second one waits", || house.figures().parked_runs() > parked);
    house.faults().fail_wal(true, false);
    assert!(is_misconf(&other.run("SET other 1")));
    house.faults().fail_wal(false, false);
    wait_until("writes go through", || other.run("SET other 1").is_ok());
    stripes.release(stripe, true);
    let replies = [client.read(), client.read()];
    assert!(replies.iter().all(is_misconf), "{replies:?}");
    assert_eq!(client.run("GET n"), bulk("1"));
}

#[test]
fn after_a_reopen_waiters_are_served_and_watches_are_broken() {
    let house = House::start(&["--workers", "2"]);
    let mut client = house.client();
    let (mut waiting, mut watching) = (house.client(), house.client());
    watching.ok("WATCH unchanged");
    send_burst(&mut waiting, &["BLPOP queue 0"]);
    wait_until("it waits", || house.keyspace().waiters().len() == 1);
    house.faults().fail_wal(true, false);
    // This one claims the waiter, and neither is told that it happened: it did not.
    assert!(is_misconf(&client.run("RPUSH queue lost")));
    house.faults().fail_wal(false, false);
    wait_until("writes go through", || client.run("SET again 1").is_ok());
    let replies = burst(&mut watching, &["MULTI", "PING", "EXEC"]);
    assert_eq!(replies[2], Value::NullArray);
    let told = if house.keyspace().waiters().is_empty() {
        // It was served with what was lost, and told that this failed.
        let told = waiting.read();
        assert!(is_misconf(&told), "{told:?}");
        send_burst(&mut waiting, &["BLPOP queue 0"]);
        client.run("RPUSH queue kept");
        waiting.read()
    } else {
        client.run("RPUSH queue kept");
        waiting.read()
    };
    assert_eq!(told, super::pair("queue", "kept"));
}

/// Commits something that nobody has asked to be in the log. Gives its sequence.
fn commit_unflushed(house: &House, mode: Mode, work: impl FnOnce(&mut Txn<'_>) -> Outcome) -> u64 {
    let keyspace = house.keyspace();
    let alone = (mode == Mode::Alone).then(|| keyspace.gate().close());
    let mut plan = LockPlan::default();
    plan.add(house.stripe("k"), true);
    let _locked = alone.is_none().then(|| keyspace.lock_inside(&plan, Holder::Pool));
    let guard = keyspace.store().db().unwrap();
    let db = guard.as_deref().unwrap();
    let (run, mut scratch) = (RunIdentity { now_ms: 1, now_us: 1000, seed: 1 }, Scratch::default());
    let mut txn = keyspace.begin(db.newest(Tier::Disk), mode, &run, &mut scratch);
    work(&mut txn).unwrap();
    txn.commit().unwrap().sequence
}

#[test]
fn what_is_shown_is_in_the_log_before() {
    // Nobody but replies brings the log to the system.
    let house = House::start(&["--workers", "1", "--appendfsync", "no", "--notify-keyspace-events", "KEn"]);
    let mut client = house.client();
    let write = |txn: &mut Txn<'_>| {
        let key = txn.key(0, b"k");
        txn.delete(&key)?;
        txn.save(&key, NewHead::new(DataType::String, Body::Whole(b"v")))
    };
    let script = "return redis.call('GET', 'k')";
    let long = format!("for i = 1, 3000000 do end {script}");
    let on_pool = "redis.call('KEYS', 'none') return redis.call('LPUSH', KEYS[1], 'x')";
    let reads: [&[&str]; 12] = [
        &["GET", "k"],
        &["LLEN", "k"],
        &["LPUSH", "k", "x"],
        &["SETNX", "k", "x"],
        &["DBSIZE"],
        &["SCAN", "0"],
        &["RANDOMKEY"],
        &["KEYS", "*"],
        &["EVAL", script, "0"],
        &["EVAL", script, "1", "other"],
        &["EVAL", &long, "1", "k"],
        &["EVAL", on_pool, "1", "k"],
    ];
    for words in reads {
        let written = commit_unflushed(&house, Mode::Locked, write);
        assert!(house.store().flushed_sequence() < written);
        client.call(words);
        assert!(house.store().flushed_sequence() >= written, "{words:?} shows what could be lost");
        let written = commit_unflushed(&house, Mode::Locked, write);
        client.ok("MULTI");
        client.call(words);
        assert!(house.store().flushed_sequence() < written);
        client.run("EXEC");
        assert!(house.store().flushed_sequence() >= written, "EXEC of {words:?} shows what could be lost");
    }
    // That a key is gone with its database, too.
    let written = commit_unflushed(&house, Mode::Alone, |txn| txn.flush_database(0));
    assert_eq!(client.run("GET k"), Value::NullBulk);
    assert!(house.store().flushed_sequence() >= written);
    // And what is told.
    let mut listener = house.client();
    listener.run("SUBSCRIBE __keyevent@0__:new");
    let written = commit_unflushed(&house, Mode::Locked, write);
    listener.read();
    assert!(house.store().flushed_sequence() >= written, "an event shows what could be lost");
}

#[test]
fn nothing_shown_is_lost_whatever_happens_to_the_log() {
    const KEYS: usize = 4;
    let house = House::start(&["--workers", "2"]);
    let shown: Vec<AtomicI64> = (0..KEYS).map(|_| AtomicI64::new(0)).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for key in 0..KEYS {
            let (house, shown, over) = (&house, &shown[key], &over);
            scope.spawn(move || {
                let mut client = house.client();
                let (mut created, mut last) = (0, 0);
                while !over.load(Ordering::Relaxed) {
                    if let Value::Integer(number) = client.run(&format!("INCR key{key}")) {
                        assert!(number > last, "{number} after {last} had been answered");
                        last = number;
                        shown.fetch_max(number, Ordering::SeqCst);
                        created += 1;
                        client.run(&format!("SET new{key}:{created} x"));
                    }
                }
            });
            scope.spawn(move || {
                let mut client = house.client();
                while !over.load(Ordering::Relaxed) {
                    let known = shown.load(Ordering::SeqCst);
                    let reply = client.run(&format!("GET key{key}"));
                    if !matches!(reply, Value::Error(_)) {
                        let seen = reply.bytes().map_or(0, |_| reply.text().parse().unwrap());
                        assert!(seen >= known, "{seen} after {known} had been shown");
                        shown.fetch_max(seen, Ordering::SeqCst);
                    }
                }
            });
        }
        let _ends = RaiseAtEnd(&over);
        let mut client = house.client();
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(150));
            house.faults().fail_wal(true, false);
            wait_until("a write fails", || house.store().is_failed());
            std::thread::sleep(Duration::from_millis(20));
            house.faults().fail_wal(false, false);
            wait_until("writes go through", || client.run("SET again 1").is_ok());
        }
    });
    let mut client = house.client();
    for (key, shown) in shown.iter().enumerate() {
        let left: i64 = client.run(&format!("GET key{key}")).text().parse().unwrap();
        assert!(left >= shown.load(Ordering::SeqCst) && left > 0);
    }
    assert!(house.store().reopens() >= 4);
    house.check_size(0);
}

#[test]
fn an_event_of_what_was_lost_is_not_told() {
    let house = House::start(&["--workers", "1", "--appendfsync", "no", "--notify-keyspace-events", "KEA"]);
    let (mut listener, mut client) = (house.client(), house.client());
    listener.run("HELLO 3");
    listener.run("SUBSCRIBE __keyspace@0__:lost __keyspace@0__:kept");
    listener.read();
    // While its own command waits it takes no messages.
    let (stripes, stripe) = (house.keyspace().stripes(), house.stripe("held"));
    assert!(stripes.acquire(stripe, true, tuffdb::keyspace::Holder::Pool));
    let parked = house.figures().parked_runs();
    send_burst(&mut listener, &["GET held"]);
    wait_until("it waits", || house.figures().parked_runs() > parked);
    house.faults().fail_wal(true, false);
    assert!(is_misconf(&client.run("SET lost 1")));
    house.faults().fail_wal(false, false);
    wait_until("writes go through", || client.run("SET again 1").is_ok());
    stripes.release(stripe, true);
    assert_eq!(listener.read(), Value::Null);
    client.ok("SET kept 1");
    let told = listener.read().render();
    assert!(told.contains("kept") && !told.contains("lost"), "{told}");
}

#[test]
fn a_folder_open_for_reading_only_serves_reads_and_refuses_writes_until_it_heals() {
    let house = House::start(&["--workers", "2"]);
    let mut client = house.client();
    client.ok("SET k v");
    client.run("HSET h f 1");
    house.faults().fail_wal(true, true);
    assert!(is_misconf(&client.run("SET k w")));
    for _ in 0..20 {
        wait_until("reads are answered", || client.run("GET k") == bulk("v"));
        assert!(is_misconf(&client.run("SET k w")));
        assert!(is_misconf(&client.run("FLUSHALL")));
    }
    wait_until("the size is known", || client.run("DBSIZE") == Value::Integer(2));
    assert_eq!(house.store().reopens(), 0);
    house.faults().fail_wal(false, false);
    wait_until("writes go through", || client.run("SET k w").is_ok());
    assert_eq!(client.run("GET k"), bulk("w"));
    assert_eq!(house.store().reopens(), 1);
    house.check_size(0);
}

#[test]
fn after_a_reopen_nothing_is_dead_that_the_disk_does_not_say_is() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("SET k v");
    // As from a deletion that the log has lost: a compaction must not take the collection's rows.
    house.store().dead().insert(tuffdb::encoding::row::Version(1 << 60), 1);
    house.faults().fail_wal(true, false);
    assert!(is_misconf(&client.run("SET k w")));
    house.faults().fail_wal(false, false);
    wait_until("writes go through", || client.run("SET k w").is_ok());
    assert!(house.store().dead().is_empty());
}

#[test]
fn after_a_reopen_a_read_does_not_wait_for_what_was_lost() {
    let house = House::start(&["--workers", "1", "--appendfsync", "always"]);
    let mut client = house.client();
    client.ok("SET k v");
    house.faults().fail_wal(true, false);
    let names: Vec<_> = (0..300).map(|n| format!("lost{n}")).collect();
    let mut words = vec!["MSET", "k", "lost"];
    words.extend(names.iter().flat_map(|name| [name.as_str(), "v"]));
    assert!(is_misconf(&client.call(&words)));
    house.faults().fail_wal(false, false);
    wait_until("writes go through", || client.run("SET again 1").is_ok());
    assert_eq!(client.run("GET k"), bulk("v"));
}

#[test]
fn after_a_reopen_keys_expire_whose_removal_was_lost() {
    let house = House::start(&["--workers", "1", "--appendfsync", "no"]);
    let mut client = house.client();
    client.ok("DEBUG SET-ACTIVE-EXPIRE 0");
    client.ok("SET k v PX 1");
    client.ok("DEBUG SET-ACTIVE-EXPIRE 1");
    wait_until("it is removed", || house.figures().expired() == 1);
    house.faults().fail_wal(true, false);
    assert!(is_misconf(&client.run("SET again 1")));
    house.faults().fail_wal(false, false);
    wait_until("writes go through", || client.run("SET again 1").is_ok());
    wait_until("it is removed again", || house.figures().expired() == 2);
    assert_eq!(house.check_size(0), 1);
}

#[test]
fn after_a_reopen_a_library_that_was_lost_is_gone() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    house.faults().fail_wal(true, false);
    let library = "#!lua name=lost\nredis.register_function('f', function() return 1 end)";
    assert!(is_misconf(&client.call(&["FUNCTION", "LOAD", library])));
    house.faults().fail_wal(false, false);
    wait_until("writes go through", || client.run("SET again 1").is_ok());
    assert_eq!(client.run("FUNCTION LIST"), Value::Array(Vec::new()));
    assert_eq!(client.run("FCALL f 0"), Value::Error(b"ERR Function not found".to_vec()));
}

#[test]
fn who_waits_through_a_flush_that_is_lost_is_served_by_the_next_push() {
    let house = House::start(&["--workers", "1", "--appendfsync", "no"]);
    let (mut client, mut waiting) = (house.client(), house.client());
    client.ok("SET k v");
    send_burst(&mut waiting, &["BLPOP queue 0"]);
    wait_until("it waits", || house.keyspace().waiters().len() == 1);
    house.faults().fail_wal(true, false);
    assert!(is_misconf(&client.run("FLUSHDB")));
    house.faults().fail_wal(false, false);
    wait_until("writes go through", || client.run("SET again 1").is_ok());
    assert_eq!(client.run("GET k"), bulk("v"));
    client.run("RPUSH queue kept");
    assert_eq!(waiting.read(), super::pair("queue", "kept"));
}

#[test]
fn a_reopen_and_commands_on_the_pool_do_not_wait_for_each_other() {
    let house = House::start(&["--workers", "2"]);
    let over = AtomicBool::new(false);
    let fields: Vec<_> = (0..6000).map(|n| format!("field{n}")).collect();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (house, over, fields) = (&house, &over, &fields);
            scope.spawn(move || {
                let mut client = house.client();
                let name = format!("big{thread}");
                while !over.load(Ordering::Relaxed) {
                    // A write on the pool, then one that closes the gate.
                    let mut words = vec!["HSET", &name];
                    words.extend(fields.iter().flat_map(|field| [field.as_str(), "v"]));
                    client.call(&words);
                    client.run("FLUSHDB");
                }
            });
        }
        let _ends = RaiseAtEnd(&over);
        let mut client = house.client();
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(30));
            house.faults().fail_wal(true, false);
            client.run("SET k v");
            wait_until("a write fails", || house.store().is_failed());
            house.faults().fail_wal(false, false);
            wait_until("writes go through", || client.run("SET again 1").is_ok());
        }
    });
    house.check_size(0);
}

#[test]
fn with_appendfsync_always_a_reply_comes_after_the_sync() {
    let house = House::start(&["--workers", "2", "--appendfsync", "always"]);
    let stripe = house.stripe("k");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = house.client();
                for _ in 0..60 {
                    let before = house.keyspace().stripes().sequence(stripe);
                    client.run("INCR k");
                    let safe = house.store().synced_sequence();
                    assert!(safe > before, "answered with {safe} synced, {before} written");
                }
                // A read waits for what it shows, too.
                for _ in 0..60 {
                    let before = house.keyspace().stripes().sequence(stripe);
                    client.run("GET k");
                    assert!(house.store().synced_sequence() >= before);
                }
            });
        }
    });
    assert_eq!(house.client().run("GET k"), bulk("180"));
}

/// What all servers of this process log, from warnings up.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct ToLog;

impl Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From here on [`LOG`] has what is logged.
fn capture_log() {
    static START: Once = Once::new();
    START.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::level_filters::LevelFilter::WARN)
            .with_ansi(false)
            .with_writer(|| ToLog)
            .init();
    });
}

/// The lines about one house.
fn logged(house: &House) -> Vec<String> {
    let folder = house.store().path().display().to_string();
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    log.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect()
}

#[test]
fn a_failure_of_the_disk_is_one_line_in_the_log_and_its_end_another() {
    capture_log();
    let house = House::start(&["--workers", "2"]);
    let mut client = house.client();
    let status = |client: &mut crate::client::Client| {
        let text = client.run("INFO persistence").text();
        let of = |line: &&str| line.starts_with("aof_last_write");
        text.lines().filter(of).map(str::to_owned).collect::<Vec<_>>()
    };
    client.ok("SET k v");
    assert_eq!(status(&mut client), ["aof_last_write_status:ok"]);
    for round in 1..3 {
        house.faults().fail_wal(true, true);
        assert!(is_misconf(&client.run("SET k w")));
        wait_until("reads are answered", || client.run("GET k") == bulk("v"));
        let told = status(&mut client);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], "aof_last_write_status:err");
        assert!(told[1].starts_with("aof_last_write_error:IO error: "), "{told:?}");
        // The reason becomes that of the failed try to open it again.
        wait_until("opening it has failed", || {
            status(&mut client).iter().any(|line| line.contains(" no space "))
        });
        house.faults().fail_wal(false, false);
        wait_until("writes go through", || client.run("SET k v").is_ok());
        assert_eq!(status(&mut client), ["aof_last_write_status:ok"]);
        wait_until("the end is logged", || logged(&house).len() >= 2 * round);
        let lines = logged(&house);
        assert_eq!(lines.len(), 2 * round, "{lines:?}");
        for pair in lines.chunks(2) {
            assert!(
                pair[0].contains(" ERROR ") && pair[0].contains("the disk fails: writes are refused"),
                "{lines:?}"
            );
            assert!(pair[1].contains(" WARN ") && pair[1].contains("the disk works again"), "{lines:?}");
        }
    }
}
