//! Long commands on the pool, and commands that need the keyspace for themselves.

use super::{House, RaiseAtEnd, bulk, burst, send_burst};
use crate::client::Client;
use crate::value::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tuffdb::keyspace::Holder;

/// Sets fields `from..to` of a hash, a thousand at a time.
pub(super) fn fill_hash(client: &mut Client, key: &str, from: usize, to: usize) {
    let names: Vec<_> = (from..to).map(|n| format!("field{n}")).collect();
    for part in names.chunks(1000) {
        let mut words = vec!["HSET", key];
        words.extend(part.iter().flat_map(|name| [name.as_str(), "v"]));
        client.call(&words).integer();
    }
}

#[test]
fn a_search_in_a_long_list_finds_what_its_own_transaction_has_put_there() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    let names: Vec<_> = (0..6000).map(|n| format!("element{n}")).collect();
    for part in names.chunks(1000) {
        let mut words = vec!["RPUSH", "list"];
        words.extend(part.iter().map(String::as_str));
        client.call(&words).integer();
    }
    // What this walk has passed is known from now on.
    assert_eq!(client.run("LINSERT list BEFORE element5900 x"), Value::Integer(6001));
    assert_eq!(client.run("LINSERT list BEFORE element100 x"), Value::Integer(6002));
    let lines = ["MULTI", "LPUSH list new", "LINSERT list AFTER new y", "EXEC"];
    let replies = super::burst(&mut client, &lines);
    assert_eq!(replies[3], Value::Array(vec![Value::Integer(6003), Value::Integer(6004)]));
}

#[test]
fn long_commands_run_on_the_pool_while_their_worker_goes_on() {
    let house = House::start(&["--workers", "1"]);
    let mut long = house.client();
    fill_hash(&mut long, "big", 0, 100_000);
    for n in 0..20_000 {
        let mut request = Vec::new();
        crate::client::encode(&["SET".to_string(), format!("key{n}"), "v".to_string()], &mut request);
        long.send_raw(&request).unwrap();
    }
    (0..20_000).for_each(|_| assert!(long.read().is_ok()));
    let mut quick = house.client();
    quick.ok("SET hot h");
    let heavy_before = house.figures().heavy_runs();
    let done = AtomicBool::new(false);
    send_burst(&mut long, &["HGETALL big", "KEYS *", "HGETALL big", "KEYS *"]);
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(long.read().items().len(), 200_000);
            assert_eq!(long.read().items().len(), 20_002);
            assert_eq!(long.read().items().len(), 200_000);
            assert_eq!(long.read().items().len(), 20_002);
            done.store(true, Ordering::SeqCst);
        });
        let mut beside = 0;
        while !done.load(Ordering::SeqCst) {
            assert_eq!(quick.run("GET hot"), bulk("h"));
            beside += 1;
        }
        beside
    });
    assert_eq!(house.figures().heavy_runs() - heavy_before, 4);
    assert!(beside > 10, "only {beside} reads while four long commands ran");
}

#[test]
fn a_cache_is_told_of_what_changes_while_a_long_command_reads_it() {
    let house = House::start(&["--workers", "2"]);
    let (mut reader, mut writer) = (house.client(), house.client());
    writer.ok("SET k old");
    reader.run("HELLO 3");
    reader.ok("CLIENT TRACKING ON");
    // It runs from a snapshot, and comes upon the key late.
    let script = "redis.call('KEYS', 'none') for i = 1, 30000000 do end return redis.call('GET', 'k')";
    reader.send(&["EVAL", script, "0"]).unwrap();
    super::wait_until("it is on the pool", || house.figures().heavy_runs() > 0);
    std::thread::sleep(Duration::from_millis(20));
    writer.ok("SET k new");
    if reader.read() == bulk("old") {
        assert!(matches!(reader.read(), Value::Push(_)));
    }
}

#[test]
fn a_long_script_loses_no_change_of_a_key_that_it_has_not_declared() {
    let house = House::start(&["--workers", "2"]);
    let (mut client, mut writer) = (house.client(), house.client());
    writer.ok("SET k 0");
    let script = "redis.call('KEYS', 'none') local n = redis.call('GET', 'k')
        for i = 1, 3000000 do end return redis.call('SET', 'k', n + 1)";
    client.send(&["EVAL", script, "0"]).unwrap();
    let over = AtomicBool::new(false);
    let changes = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ends = RaiseAtEnd(&over);
            assert!(client.read().is_ok());
        });
        let mut changes = 1;
        while !over.load(Ordering::SeqCst) {
            writer.run("INCR k").integer();
            changes += 1;
        }
        changes
    });
    assert_eq!(writer.run("GET k"), bulk(&changes.to_string()));
}

#[test]
fn a_long_write_that_others_get_in_the_way_of_ends_right() {
    let house = House::start(&["--workers", "2"]);
    let added = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (house, added, over) = (&house, &added, &over);
            scope.spawn(move || {
                let mut client = house.client();
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    client.run(&format!("HSET big added{thread}:{number} v")).integer();
                    added.fetch_add(1, Ordering::SeqCst);
                    number += 1;
                }
            });
        }
        let _ends = RaiseAtEnd(&over);
        let mut client = house.client();
        let end = Instant::now() + super::PATIENCE;
        while house.figures().last_resorts() == 0 && Instant::now() < end {
            fill_hash(&mut client, "big", 0, 10_000);
            let names: Vec<_> = (0..10_000).map(|n| format!("field{n}")).collect();
            let mut words = vec!["HDEL", "big"];
            words.extend(names.iter().map(String::as_str));
            assert_eq!(client.call(&words), Value::Integer(10_000));
        }
    });
    assert!(house.figures().conflicts() >= 3 && house.figures().last_resorts() > 0);
    let mut client = house.client();
    let left = client.run("HLEN big").integer();
    assert_eq!(left, added.load(Ordering::SeqCst) as i64, "a field was lost, or came back");
    assert_eq!(client.run("HKEYS big").items().len() as i64, left);
}

#[test]
fn nobody_has_the_keyspace_alone_while_a_pool_thread_commits() {
    let house = House::start(&["--workers", "1"]);
    let (keyspace, stripe) = (house.keyspace(), house.stripe("k"));
    let mut client = house.client();
    // A commit on the pool waits for room, with its locks.
    house.faults().stop_writes(true);
    let script = "redis.call('KEYS', 'none') return redis.call('SET', KEYS[1], 1)";
    client.send(&["EVAL", script, "1", "k"]).unwrap();
    super::wait_until("it is on the pool", || house.figures().heavy_runs() > 0);
    super::wait_until("it commits", || {
        let is_free = keyspace.stripes().acquire(stripe, false, Holder::Worker);
        if is_free {
            keyspace.stripes().release(stripe, false);
        }
        !is_free
    });
    let alone = AtomicBool::new(false);
    let was_alone = std::thread::scope(|scope| {
        scope.spawn(|| {
            drop(keyspace.gate().close());
            alone.store(true, Ordering::SeqCst);
        });
        std::thread::sleep(Duration::from_millis(50));
        let was_alone = alone.load(Ordering::SeqCst);
        house.faults().stop_writes(false);
        was_alone
    });
    assert!(!was_alone);
    assert!(client.read().is_ok());
}

#[test]
fn whole_database_commands_and_writers_leave_the_counts_right() {
    let house = House::start(&["--workers", "2", "--databases", "4"]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (house, over) = (&house, &over);
            scope.spawn(move || {
                let mut client = house.client_in(thread % 2);
                let mut n = 0u32;
                while !over.load(Ordering::Relaxed) {
                    n += 1;
                    let key = n * 7 % 50;
                    match n % 5 {
                        0 => client.run(&format!("DEL key{key}")),
                        1 => client.run(&format!("SET key{key} v EX 1000")),
                        2 => client.run(&format!("MOVE key{key} 2")),
                        _ => client.run(&format!("SET key{key} v")),
                    };
                }
            });
        }
        let _ends = RaiseAtEnd(&over);
        let mut client = house.client();
        let end = Instant::now() + Duration::from_millis(1200);
        let mut n = 0;
        while Instant::now() < end {
            n += 1;
            let line = ["FLUSHALL", "SWAPDB 0 1", "SWAPDB 1 2", "FLUSHDB"][n % 4];
            client.ok(line);
        }
    });
    for database in 0..4 {
        let size = house.check_size(database);
        let mut client = house.client_in(database);
        for n in 0..50 {
            client.run(&format!("PERSIST key{n}"));
        }
        assert!(
            !house
                .client()
                .run("INFO keyspace")
                .text()
                .contains(&format!("db{database}:keys={size},expires=1"))
        );
        assert_eq!(house.keyspace().databases()[database as usize].expiring(), 0);
    }
}

#[test]
fn a_transaction_of_many_commands_that_are_long_together_leaves_its_worker() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    let mut words = vec!["RPUSH", "l"];
    words.resize(4_000, "element");
    client.call(&words).integer();
    let exec = |client: &mut Client, commands: usize| {
        let before = house.figures().heavy_runs();
        let mut lines = vec!["MULTI"];
        lines.resize(1 + commands, "LPOS l absent");
        lines.push("EXEC");
        let replies = burst(client, &lines);
        assert_eq!(replies[commands + 1].items(), vec![Value::NullBulk; commands]);
        house.figures().heavy_runs() - before
    };
    assert_eq!(exec(&mut client, 2), 0);
    assert_eq!(exec(&mut client, 100), 1);
}
