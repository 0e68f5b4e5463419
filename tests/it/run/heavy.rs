//! Long commands on the pool, and commands that need the keyspace for themselves.

use super::{House, RaiseAtEnd, bulk, burst, send_burst};
use crate::client::Client;
use crate::value::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
