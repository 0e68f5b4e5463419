//! Expiry, and the rows of what is dead.

use super::heavy::fill_hash;
use super::{House, bulk, burst, wait_until};
use crate::client::Client;
use crate::value::Value;
use std::time::{Duration, Instant};
use tuffdb::encoding::Family;

fn newest_sequence(house: &House) -> u64 {
    house.store().with_db(|db| db.latest_sequence()).unwrap()
}

#[test]
fn deleting_a_huge_hash_writes_a_few_rows_and_its_rows_go_later() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    fill_hash(&mut client, "huge", 0, 300_000);
    assert_eq!(house.rows(Family::Hash), 300_000);
    let before = newest_sequence(&house);
    assert_eq!(client.run("DEL huge"), Value::Integer(1));
    let written = newest_sequence(&house) - before;
    assert!(written < 20, "DEL wrote {written} rows");
    wait_until("the rows are gone", || house.rows(Family::Hash) == 0);
    wait_until("the queue is empty", || house.rows(Family::Gc) == 0);
    assert!(house.store().dead().is_empty());
    assert_eq!(house.check_size(0), 0);
}

#[test]
fn what_replaces_a_dead_collection_is_not_taken_for_it() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    for round in 1..=5 {
        fill_hash(&mut client, "h", 0, 2000);
        assert_eq!(client.run("DEL h"), Value::Integer(1));
        fill_hash(&mut client, "h", 0, 500 * round);
        wait_until("the dead rows are gone", || house.rows(Family::Hash) == 500 * round);
        wait_until("the queue is empty", || house.rows(Family::Gc) == 0);
        assert_eq!(client.run("HKEYS h").items().len(), 500 * round);
        client.ok("SET h string");
        wait_until("the overwritten rows are gone", || house.rows(Family::Hash) == 0);
        client.run("DEL h");
    }
}

#[test]
fn a_collection_that_has_come_back_outlives_the_database_it_was_in() {
    let house = House::start(&["--workers", "1"]);
    let (mut client, mut abroad) = (house.client(), house.client_in(1));
    fill_hash(&mut client, "h", 0, 3000);
    client.run("MOVE h 1");
    abroad.run("MOVE h 0");
    abroad.ok("SET k v");
    abroad.ok("FLUSHDB");
    wait_until("the queue is empty", || house.rows(Family::Gc) == 0);
    house.chill();
    assert_eq!(client.run("HKEYS h").items().len(), 3000);
}

#[test]
fn a_moved_collection_that_is_deleted_leaves_nothing() {
    let house = House::start(&["--workers", "1"]);
    fill_hash(&mut house.client(), "h", 0, 3000);
    house.client().run("MOVE h 1");
    house.client_in(1).run("DEL h");
    wait_until("the rows are gone", || house.rows(Family::Hash) == 0);
    wait_until("the queue is empty", || house.rows(Family::Gc) == 0);
}

#[test]
fn the_rows_of_a_dead_collection_go_after_a_restart_too() {
    let mut house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    fill_hash(&mut client, "dead", 0, 5000);
    fill_hash(&mut client, "alive", 0, 1000);
    client.run("DEL dead");
    house.restart();
    wait_until("the rows are gone", || house.rows(Family::Hash) == 1000);
    let mut client = house.client();
    assert_eq!(client.run("HKEYS alive").items().len(), 1000);
    assert_eq!(house.check_size(0), 1);
}

#[test]
fn a_database_emptied_before_a_restart_and_after_it_has_a_place_of_its_own_each_time() {
    let mut house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("SET k v");
    client.ok("FLUSHDB");
    client.ok("SET k v");
    house.restart();
    let mut client = house.client();
    client.ok("FLUSHDB");
    assert_eq!(client.run("EXISTS k"), Value::Integer(0));
    client.ok("SET k w");
    wait_until("the queue is empty", || house.rows(Family::Gc) == 0);
    house.chill();
    assert_eq!(client.run("GET k"), bulk("w"));
    assert_eq!(house.check_size(0), 1);
}

#[test]
fn a_moved_collection_outlives_its_old_database_and_dies_with_its_new_one() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    fill_hash(&mut client, "h", 0, 3000);
    fill_hash(&mut client, "stays", 0, 1500);
    assert_eq!(client.run("MOVE h 1"), Value::Integer(1));
    client.ok("FLUSHDB");
    wait_until("the rows of the old database are gone", || house.rows(Family::Hash) == 3000);
    house.chill();
    let mut moved = house.client_in(1);
    assert_eq!(moved.run("HKEYS h").items().len(), 3000);
    assert_eq!(moved.run("HGET h field2999"), super::bulk("v"));
    moved.ok("RENAME h other");
    moved.ok("FLUSHDB");
    wait_until("the rows of the new database are gone", || house.rows(Family::Hash) == 0);
    wait_until("the queue is empty", || house.rows(Family::Gc) == 0);
}

#[test]
fn collections_from_before_a_restart_and_from_after_it_share_no_rows() {
    let mut house = House::start(&["--workers", "1"]);
    fill_hash(&mut house.client(), "{tag}old", 0, 2000);
    house.restart();
    let mut client = house.client();
    fill_hash(&mut client, "{tag}new", 1000, 3000);
    let fields = |client: &mut Client, key: &str| client.run(&format!("HKEYS {key}")).items().len();
    assert_eq!((fields(&mut client, "{tag}old"), fields(&mut client, "{tag}new")), (2000, 2000));
    client.run("DEL {tag}old");
    wait_until("the queue is empty", || house.rows(Family::Gc) == 0);
    assert_eq!(fields(&mut client, "{tag}new"), 2000);
}

#[test]
fn expired_keys_leave_dbsize_within_a_second_without_being_read() {
    let house = House::start(&["--workers", "2"]);
    let mut client = house.client();
    for n in 0..3000 {
        client.ok(&format!("SET key{n} v PX {}", 200 + n % 100));
    }
    client.ok("SET stays v EX 1000");
    let last = Instant::now() + Duration::from_millis(300);
    wait_until("the keys are removed", || client.run("DBSIZE") == Value::Integer(1));
    let late = Instant::now().saturating_duration_since(last);
    assert!(late < Duration::from_secs(5), "removed {late:?} after their time");
    assert_eq!(house.figures().expired(), 3000);
    assert_eq!(house.rows(Family::Ttl), 1);
    assert_eq!(house.check_size(0), 1);
}

#[test]
fn keys_that_expire_are_counted_as_such_after_a_restart() {
    let mut house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("MSET k v other v");
    client.run("EXPIRE k 1000");
    let expiring = |house: &House| house.keyspace().databases()[0].expiring();
    assert_eq!(expiring(&house), 1);
    house.restart();
    assert_eq!((expiring(&house), house.check_size(0)), (1, 2));
}

#[test]
fn keys_with_the_shortest_of_lives_are_removed_too() {
    let house = House::start(&["--workers", "2"]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let house = &house;
            scope.spawn(move || {
                let mut client = house.client();
                for n in 0..3000 {
                    client.ok(&format!("SET key{thread}:{n} v PX 1"));
                }
            });
        }
    });
    let mut client = house.client();
    wait_until("the keys are removed", || client.run("DBSIZE") == Value::Integer(0));
    assert_eq!(house.rows(Family::Ttl), 0);
}

#[test]
fn databases_that_are_emptied_again_and_again_leave_no_rows() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    let mut empty = || {
        client.ok("SET k v");
        client.ok("FLUSHDB");
        wait_until("the queue is empty", || house.rows(Family::Gc) == 0);
        (house.rows(Family::System), house.rows(Family::Keys))
    };
    let first = empty();
    assert_eq!([empty(), empty()], [first; 2]);
}

#[test]
fn an_expiry_refreshed_a_thousand_times_leaves_few_hints() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("SET k v");
    for n in 0..1000 {
        assert_eq!(client.run(&format!("EXPIRE k {}", 1000 + n)), Value::Integer(1));
    }
    assert!(house.rows(Family::Ttl) <= 2, "{} hints", house.rows(Family::Ttl));
    client.run("PERSIST k");
    assert_eq!(house.keyspace().databases()[0].expiring(), 0);
}

#[test]
fn what_a_transaction_makes_and_removes_again_is_never_written() {
    let house = House::start(&["--workers", "1"]);
    let mut client = house.client();
    client.ok("MULTI");
    fill_in_multi(&mut client, "h", 2000);
    client.run("DEL h");
    assert_eq!(client.run("EXEC"), Value::Array(vec![Value::Integer(2000), Value::Integer(1)]));
    assert_eq!((house.rows(Family::Hash), house.rows(Family::Gc)), (0, 0));
}

/// Queues an HSET of so many fields.
fn fill_in_multi(client: &mut Client, key: &str, fields: usize) {
    let names: Vec<_> = (0..fields).map(|n| format!("field{n}")).collect();
    let mut words = vec!["HSET", key];
    words.extend(names.iter().flat_map(|name| [name.as_str(), "v"]));
    assert_eq!(client.call(&words), Value::Simple(b"QUEUED".to_vec()));
}

#[test]
fn bgrewriteaof_cuts_the_log_and_keeps_the_data() {
    let mut house = House::start(&["--workers", "1"]);
    let folder = house.store().path().to_owned();
    let log_bytes = || {
        let files = std::fs::read_dir(&folder).unwrap().flatten();
        let logs = files.filter(|file| file.path().extension().is_some_and(|end| end == "log"));
        logs.map(|log| log.metadata().unwrap().len()).sum::<u64>()
    };
    let mut client = house.client();
    let value = "v".repeat(1000);
    for n in 0..200 {
        client.ok(&format!("SET key{n} {value}{n}"));
    }
    assert!(log_bytes() > 200_000);
    assert_eq!(
        client.run("BGREWRITEAOF"),
        Value::Simple(b"Background append only file rewriting started".to_vec())
    );
    wait_until("the log is cut", || client.run("INFO persistence").text().contains("aof_rewrites:1\r\n"));
    wait_until("the old log is removed", || log_bytes() < 10_000);
    let told = burst(&mut client, &["MULTI", "BGREWRITEAOF", "EXEC"]).pop().unwrap();
    let scheduled = Value::Simple(b"Background append only file rewriting scheduled".to_vec());
    assert_eq!(told, Value::Array(vec![scheduled]));
    wait_until("it is cut again", || client.run("INFO persistence").text().contains("aof_rewrites:2\r\n"));
    drop(client);
    house.restart();
    assert_eq!(house.client().run("GET key199"), bulk(&format!("{value}199")));
    assert_eq!(house.check_size(0), 200);
}
