//! WATCH, MULTI and EXEC beside other clients, the expirer and the gate.

use super::{House, bulk, burst, send_burst, wait_until};
use crate::value::Value;
use tuffdb::encoding::row::{Position, head_row};

#[test]
fn exec_writes_nothing_if_a_watched_key_changed() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 400;
    let house = House::start(&["--workers", "2"]);
    house.client().ok("SET counter 0");
    let successes: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = house.client();
                    let mut successes = 0;
                    for _ in 0..ROUNDS {
                        client.ok("WATCH counter");
                        let next = client.run("GET counter").text().parse::<u64>().unwrap() + 1;
                        let replies = burst(
                            &mut client,
                            &["MULTI", &format!("SET counter {next}"), "INCR runs", "EXEC"],
                        );
                        successes += usize::from(replies[3] != Value::NullArray);
                    }
                    successes
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let mut client = house.client();
    assert_eq!(client.run("GET counter"), bulk(&successes.to_string()));
    assert_eq!(client.run("GET runs"), bulk(&successes.to_string()));
    assert!(successes > 0 && successes < THREADS * ROUNDS, "{successes} successes: nobody was in the way");
}

#[test]
fn what_came_before_a_subscription_ended_is_told_before_that() {
    let house = House::start(&["--workers", "1"]);
    let mut listener = house.client();
    listener.run("HELLO 3");
    listener.run("SUBSCRIBE channel");
    let (stripes, stripe) = (house.keyspace().stripes(), house.stripe("held"));
    assert!(stripes.acquire(stripe, true, tuffdb::keyspace::Holder::Pool));
    let parked = house.figures().parked_runs();
    for line in ["MULTI", "GET held", "UNSUBSCRIBE channel"] {
        assert!(matches!(listener.run(line), Value::Simple(_)));
    }
    listener.send(&["EXEC"]).unwrap();
    wait_until("EXEC waits", || house.figures().parked_runs() > parked);
    assert_eq!(house.client().run("PUBLISH channel text"), Value::Integer(1));
    stripes.release(stripe, true);
    let told = listener.read();
    assert!(matches!(told, Value::Push(_)) && told.render().contains("text"), "{}", told.render());
    assert!(matches!(listener.read(), Value::Array(_)));
}

#[test]
fn exec_is_refused_when_a_watched_key_has_expired() {
    let house = House::start(&[]);
    let mut client = house.client();
    for active in ["0", "1"] {
        client.ok(&format!("DEBUG SET-ACTIVE-EXPIRE {active}"));
        client.ok("SET k v PX 60");
        client.ok("WATCH k");
        wait_until("the key expires", || client.run("EXISTS k") == Value::Integer(0));
        let replies = burst(&mut client, &["MULTI", "SET k w", "EXEC"]);
        assert_eq!(replies[2], Value::NullArray);
        assert_eq!(client.run("EXISTS k"), Value::Integer(0));
    }
}

#[test]
fn removing_a_key_that_had_expired_before_it_was_watched_breaks_no_watch() {
    let house = House::start(&[]);
    let mut client = house.client();
    client.ok("DEBUG SET-ACTIVE-EXPIRE 0");
    client.ok("SET k v PX 1");
    wait_until("the key expires", || client.run("EXISTS k") == Value::Integer(0));
    assert_eq!(client.run("DBSIZE"), Value::Integer(1));
    client.ok("WATCH k");
    client.ok("DEBUG SET-ACTIVE-EXPIRE 1");
    wait_until("the key is removed", || client.run("DBSIZE") == Value::Integer(0));
    let replies = burst(&mut client, &["MULTI", "SET k w", "EXEC"]);
    assert_eq!(replies[2], Value::Array(vec![Value::Simple(b"OK".to_vec())]));
}

#[test]
fn filing_an_expiry_hint_again_breaks_no_watch() {
    let house = House::start(&[]);
    let mut client = house.client();
    client.ok("SET k v PX 50");
    client.run("PEXPIRE k 100000");
    let hint = || {
        let mut first = Vec::new();
        let store = house.store();
        let scanned = store.with_db(|db| {
            let view = db.newest(tuffdb::store::Tier::Disk);
            let family = tuffdb::encoding::Family::Ttl;
            view.scan(family, b"", &[255; 8], tuffdb::keyspace::Direction::Up, |row, _| {
                first = row.to_vec();
                Ok::<_, tuffdb::store::ReadError>(std::ops::ControlFlow::Break(()))
            })
        });
        scanned.unwrap().unwrap();
        first
    };
    let before = hint();
    client.ok("WATCH k");
    wait_until("the hint is filed again", || hint() != before);
    let replies = burst(&mut client, &["MULTI", "SET k w", "EXEC"]);
    assert_eq!(replies[2], Value::Array(vec![Value::Simple(b"OK".to_vec())]));
}

#[test]
fn exec_waits_for_whoever_is_changing_a_watched_key() {
    let house = House::start(&["--workers", "1"]);
    let (keyspace, stripe) = (house.keyspace(), house.stripe("watched"));
    let mut client = house.client();
    client.ok("WATCH watched");
    assert!(keyspace.stripes().acquire(stripe, true, tuffdb::keyspace::Holder::Pool));
    let parked = house.figures().parked_runs();
    // It writes another key.
    send_burst(&mut client, &["MULTI", "SET other v", "EXEC"]);
    wait_until("EXEC waits", || house.figures().parked_runs() > parked);
    // What the commit does before it lets go of the key.
    let position = Position::of_key(keyspace.seed(), b"watched");
    keyspace.watches().touch(&head_row(keyspace.namespace(0).unwrap(), position, b"watched"));
    keyspace.stripes().release(stripe, true);
    assert!(client.read().is_ok());
    assert_eq!(client.read(), Value::Simple(b"QUEUED".to_vec()));
    assert_eq!(client.read(), Value::NullArray);
    assert_eq!(client.run("EXISTS other"), Value::Integer(0));
}

#[test]
fn an_exec_that_cannot_write_ends_its_transaction() {
    let house = House::start(&[]);
    let mut client = house.client();
    client.ok("SET k v");
    client.ok("MULTI");
    client.run("SET k w");
    house.faults().fail_wal(true, true);
    let mut other = house.client();
    assert!(super::is_misconf(&other.run("SET other x")));
    wait_until("the store is open for reading", || other.run("GET k") == bulk("v"));
    let reply = client.run("EXEC");
    assert!(matches!(reply, Value::Error(_)), "EXEC answered {}", reply.render());
    // Out of MULTI: this is answered, not queued.
    assert_eq!(client.run("GET k"), bulk("v"));
    house.faults().fail_wal(false, false);
    wait_until("writes go through", || other.run("SET other x").is_ok());
    assert_eq!(client.run("GET k"), bulk("v"));
}

#[test]
fn a_watch_that_comes_behind_the_end_of_its_database_is_broken() {
    let house = House::start(&["--workers", "1"]);
    let (mut client, keyspace) = (house.client(), house.keyspace());
    client.ok("SET other v");
    // The row as a run has found it that FLUSHDB overtakes.
    let row = head_row(keyspace.namespace(0).unwrap(), Position::of_key(keyspace.seed(), b"k"), b"k");
    let flags: [tuffdb::keyspace::WatchFlag; 2] = Default::default();
    let is_broken = || flags.each_ref().map(|flag| flag.load(std::sync::atomic::Ordering::Acquire));
    keyspace.watch(0, &row, &flags[0], false);
    client.ok("FLUSHDB");
    assert_eq!(is_broken(), [false, false], "the key is on neither side");
    keyspace.watch(0, &row, &flags[1], false);
    assert_eq!(is_broken(), [false, true]);
}

/// EXEC's reply after another client has done something between WATCH and MULTI.
fn exec_after(house: &House, watched: &str, meanwhile: &[&str]) -> Value {
    let (mut client, mut other) = (house.client(), house.client());
    client.ok(&format!("WATCH {watched}"));
    for line in meanwhile {
        assert!(!matches!(other.run(line), Value::Error(_)), "{line}");
    }
    let reply = burst(&mut client, &["MULTI", "PING", "EXEC"]).pop().unwrap();
    client.ok("UNWATCH");
    reply
}

#[test]
fn an_exec_that_meets_a_damaged_row_ends_its_transaction() {
    let house = House::start(&["--workers", "1"]);
    let (mut client, keyspace, store) = (house.client(), house.keyspace(), house.store());
    client.ok("SET k v");
    let row = head_row(keyspace.namespace(0).unwrap(), Position::of_key(keyspace.seed(), b"k"), b"k");
    let damage = |db: &tuffdb::store::Db| {
        let mut batch = tuffdb::store::Batch::default();
        batch.put(db, tuffdb::encoding::Family::Keys, &row, b"\xff");
        store.write(db, batch, true).unwrap();
    };
    store.with_db(damage).unwrap();
    keyspace.hot().clear();
    let replies = burst(&mut client, &["MULTI", "SET other v", "GET k", "EXEC"]);
    assert!(matches!(replies[3], Value::Error(_)), "{replies:?}");
    assert_eq!(client.run("GET other"), Value::NullBulk, "it is answered, and nothing was written");
    let Value::Error(text) = client.run("APPEND k v") else { panic!("what is damaged is written over") };
    assert!(text.starts_with(b"ERR damaged row: "), "{}", text.escape_ascii());
}

#[test]
fn watches_follow_their_database_through_swapdb_and_flushdb() {
    let house = House::start(&["--workers", "2"]);
    let went_through = |watched: &str, meanwhile: &[&str]| {
        exec_after(&house, watched, meanwhile) == Value::Array(vec![Value::Simple(b"PONG".to_vec())])
    };
    assert!(went_through("missing", &["SWAPDB 0 1"]), "it is missing on both sides");
    assert!(went_through("missing", &["SET k v", "FLUSHDB", "SET k v", "FLUSHALL"]));
    assert!(!went_through("missing", &["SWAPDB 0 1", "SET missing 1"]));
    house.client().ok("FLUSHALL");
    assert!(!went_through("missing", &["SET k v", "FLUSHDB", "SET missing 1"]), "written after the flush");
    house.client().ok("FLUSHALL");
    assert!(
        went_through("missing", &["SWAPDB 0 1", "SELECT 1", "SET missing 1"]),
        "that is another database now"
    );
    // It is in database 1.
    assert!(!went_through("missing", &["SWAPDB 1 0"]));
    assert!(!went_through("missing", &["SWAPDB 1 0"]));
    assert!(house.keyspace().watches().is_empty());
}
