//! Cold reads: who waits for the disk, and who does not.

use super::{House, RaiseAtEnd, bulk, burst, send_burst, wait_until};
use crate::value::Value;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// So slow that whoever waits for it comes last.
const SLOW: Duration = Duration::from_millis(700);

#[test]
fn a_slow_disk_read_delays_no_other_command_of_its_worker_nor_of_its_stripe() {
    let house = House::start(&["--workers", "1"]);
    let mut setup = house.client();
    let neighbour = house.neighbour("cold");
    assert_eq!(house.stripe("cold"), house.stripe(&neighbour));
    setup.ok("SET cold c");
    house.chill();
    setup.ok("SET hot h");
    setup.ok(&format!("SET {neighbour} n"));
    house.faults().delay_disk_reads(SLOW);
    let done = AtomicBool::new(false);
    let mut slow = house.client();
    send_burst(&mut slow, &["GET cold"]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(slow.read(), bulk("c"));
            done.store(true, Ordering::SeqCst);
        });
        wait_until("the disk is read", || house.faults().disk_reads() > 0);
        let mut others: Vec<_> = (0..3).map(|_| house.client()).collect();
        for other in &mut others {
            assert_eq!(other.run("GET hot"), bulk("h"));
            assert_eq!(other.run(&format!("GET {neighbour}")), bulk("n"));
            // The exclusive lock of the stripe is to be had, too: nobody holds it while the disk is read.
            other.ok(&format!("SET {neighbour} n"));
        }
        assert!(!done.load(Ordering::SeqCst), "the cold read was over before the hot ones");
    });
    assert_eq!(house.figures().cold_runs(), 1);
}

#[test]
fn a_write_to_a_cold_key_waits_for_nobody_who_reads_it_from_disk() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("SET k old");
    house.chill();
    house.faults().delay_disk_reads(SLOW);
    let mut slow = house.client();
    send_burst(&mut slow, &["GET k"]);
    wait_until("the disk is read", || house.faults().disk_reads() > 0);
    house.faults().delay_disk_reads(Duration::ZERO);
    client.ok("SET k new");
    // The read began before the write and ends after it: it runs again and sees the write.
    assert_eq!(slow.read(), bulk("new"));
}

#[test]
fn a_script_behind_a_cold_read_is_not_tried_on_the_worker() {
    /// So long a worker would be in a script that was tried on it.
    const TRIED: Duration = Duration::from_secs(20);
    let threshold = TRIED.as_millis().to_string();
    let house = House::start(&["--workers", "1", "--busy-reply-threshold", &threshold]);
    let mut client = house.client();
    client.ok("SET cold c");
    house.chill();
    // With a key that is not there or cold, only its row would be asked for.
    client.ok("SET hot h");
    house.faults().delay_disk_reads(SLOW);
    let mut slow = house.client();
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            send_burst(&mut slow, &["GET cold", "EVAL while\ttrue\tdo\tend 1 hot"]);
            assert_eq!(slow.read(), bulk("c"));
            assert!(slow.read().render().starts_with("-ERR Script killed by user"));
        });
        wait_until("the disk is read", || house.faults().disk_reads() > 0);
        assert_eq!(client.run("PING"), Value::Simple("PONG".into()));
        let waited = began.elapsed();
        wait_until("the script runs", || client.run("SCRIPT KILL") == Value::Simple("OK".into()));
        assert!(waited < TRIED / 2, "the worker was in the script for {waited:?}");
    });
}

#[test]
fn a_pipeline_of_cold_reads_costs_about_one_disk_read() {
    const DELAY: Duration = Duration::from_millis(200);
    let house = House::start(&["--workers", "1", "--pool-threads", "32"]);
    let mut client = house.client();
    // Each in a block of its own.
    let value = "v".repeat(9000);
    for n in 0..16 {
        client.ok(&format!("SET key{n} {value}"));
    }
    house.chill();
    house.faults().delay_disk_reads(DELAY);
    let lines: Vec<_> = (0..16).map(|n| format!("GET key{n}")).collect();
    let started = Instant::now();
    let replies = burst(&mut client, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let took = started.elapsed();
    assert!(replies.iter().all(|reply| *reply == bulk(&value)));
    assert!(house.faults().disk_reads() >= 16, "the keys were not cold");
    assert!(took < 6 * DELAY, "16 cold reads took {took:?}");
}

#[test]
fn a_fill_of_the_hot_tier_never_brings_back_an_old_value() {
    const KEYS: usize = 8;
    let house = House::start(&["--workers", "2"]);
    let acknowledged: Vec<AtomicI64> = (0..KEYS).map(|_| AtomicI64::new(-1)).collect();
    let over = AtomicBool::new(false);
    house.client().ok("SET still there");
    std::thread::scope(|scope| {
        for part in 0..2 {
            let (house, acknowledged, over) = (&house, &acknowledged, &over);
            scope.spawn(move || {
                let mut client = house.client();
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    for key in (part..KEYS).step_by(2) {
                        client.ok(&format!("SET key{key} {number}"));
                        acknowledged[key].store(number, Ordering::SeqCst);
                    }
                    number += 1;
                }
            });
            scope.spawn(move || {
                let mut client = house.client();
                let mut turn = 0;
                while !over.load(Ordering::Relaxed) {
                    turn = (turn + 3) % KEYS;
                    // Nobody writes this one, so each chill makes a read of it cold.
                    assert_eq!(client.run("GET still").text(), "there");
                    let known = acknowledged[turn].load(Ordering::SeqCst);
                    let reply = client.run(&format!("GET key{turn}"));
                    let seen = reply.bytes().map_or(-1, |_| reply.text().parse().unwrap());
                    assert!(seen >= known, "key{turn} was {known} and is read as {seen}");
                }
            });
        }
        let _ends = RaiseAtEnd(&over);
        let end = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < end {
            house.chill();
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    assert!(house.figures().cold_runs() > 0, "nothing was cold");
}

#[test]
fn a_scan_past_very_many_removed_rows_is_not_made_by_the_worker() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    let names: Vec<_> = (0..20_000).map(|n| format!("key{n}")).collect();
    for part in names.chunks(1_000) {
        let mut set = vec!["MSET"];
        set.extend(part.iter().flat_map(|name| [name.as_str(), "v"]));
        assert!(client.call(&set).is_ok());
        let mut delete = vec!["DEL"];
        delete.extend(part.iter().map(String::as_str));
        assert_eq!(client.call(&delete), Value::Integer(1_000));
    }
    let before = house.figures().cold_runs();
    assert_eq!(client.run("SCAN 0").items(), [bulk("0"), Value::Array(Vec::new())]);
    assert!(house.figures().cold_runs() > before, "the worker has gone past all of them");
}
