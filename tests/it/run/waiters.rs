//! Blocking commands: served in order, once or not at all, and nothing lost.

use super::{House, burst, pair, send_burst, wait_until};
use crate::chance::Chance;
use crate::client::Client;
use crate::value::Value;
use std::collections::BTreeSet;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn waiting(house: &House) -> usize {
    house.keyspace().waiters().len()
}

/// A client that waits, after all who wait already.
fn wait_for(house: &House, line: &str) -> Client {
    wait_in(house, 0, line)
}

fn wait_in(house: &House, database: u32, line: &str) -> Client {
    let mut client = house.client_in(database);
    let before = waiting(house);
    send_burst(&mut client, &[line]);
    wait_until("the client waits", || waiting(house) == before + 1);
    client
}

#[test]
fn who_waits_for_a_stream_sees_what_came_before_the_next_command_takes_it_away() {
    let house = House::start(&["--workers", "2"]);
    let mut writer = house.client();
    for round in 1..50 {
        let mut readers: Vec<_> = (0..3).map(|_| wait_for(&house, "XREAD BLOCK 0 STREAMS s $")).collect();
        let id = format!("{round}-1");
        let add = format!("XADD s {id} field value");
        let take_away = ["DEL s", "XTRIM s MAXLEN 0", "SET s x"][round % 3];
        burst(&mut writer, &[&add, take_away, "DEL s"]);
        for reader in &mut readers {
            let shown = reader.read().render();
            assert!(shown.contains(&id), "{take_away}: {shown}");
        }
    }
}

#[test]
fn a_turn_that_is_passed_on_goes_to_who_wants_what_is_there() {
    let house = House::start(&["--workers", "2"]);
    let mut first = wait_for(&house, "BLPOP k1 k2 0");
    let mut other = wait_for(&house, "BZPOPMIN k2 0");
    let mut second = wait_for(&house, "BLPOP k2 0");
    // The first is called to k2, and takes from k1 all the same.
    burst(&mut house.client(), &["MULTI", "RPUSH k2 v", "RPUSH k1 v", "EXEC"]);
    assert_eq!(first.read(), pair("k1", "v"));
    assert_eq!(second.read(), pair("k2", "v"));
    assert_eq!(waiting(&house), 1);
    house.client().run("ZADD k2 1 member");
    assert_eq!(other.read().render(), "*3\n  \"k2\"\n  \"member\"\n  \"1\"");
}

#[test]
fn who_is_told_to_end_by_the_transaction_that_feeds_it_takes_nothing() {
    let house = House::start(&["--workers", "2"]);
    let mut waiting_client = house.client();
    let id = waiting_client.run("CLIENT ID").render();
    send_burst(&mut waiting_client, &["BLPOP k 0"]);
    wait_until("it waits", || waiting(&house) == 1);
    let kill = format!("CLIENT KILL ID {}", &id[1..]);
    burst(&mut house.client(), &["MULTI", "RPUSH k v", &kill, "EXEC"]);
    wait_until("it is gone", || waiting(&house) == 0);
    assert_eq!(waiting_client.read(), Value::Closed);
    assert_eq!(house.client().run("LLEN k"), Value::Integer(1));
}

#[test]
fn who_reads_for_a_group_is_told_that_it_is_gone_before_there_is_another() {
    let house = House::start(&["--workers", "2"]);
    let mut writer = house.client();
    let create = "XGROUP CREATE s g 0 MKSTREAM";
    for round in 0..50 {
        writer.ok(create);
        let mut readers: Vec<_> =
            (0..3).map(|_| wait_for(&house, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >")).collect();
        let (first, code) = if round % 2 == 0 { ("DEL s", "NOGROUP") } else { ("SET s x", "WRONGTYPE") };
        burst(&mut writer, &[first, "DEL s", create, "DEL s"]);
        for reader in &mut readers {
            let shown = reader.read().render();
            assert!(shown.starts_with(&format!("-{code}")), "{first}: {shown}");
        }
    }
}

#[test]
fn who_finds_nothing_in_its_turn_keeps_its_place() {
    let house = House::start(&["--workers", "2"]);
    let mut writer = house.client();
    writer.ok("XGROUP CREATE s g 0 MKSTREAM");
    let mut readers =
        ["c1", "c2"].map(|name| wait_for(&house, &format!("XREADGROUP GROUP g {name} BLOCK 0 STREAMS s >")));
    for _ in 0..3 {
        // The first has a turn, for the stream is there and has changed.
        burst(&mut writer, &["MULTI", "XADD s * gone v", "XTRIM s MAXLEN 0", "EXEC"]);
    }
    writer.run("XADD s * field first");
    assert!(readers[0].read().render().contains("first"));
    writer.run("XADD s * field second");
    assert!(readers[1].read().render().contains("second"));
}

#[test]
fn the_first_to_wait_is_the_first_to_be_served_and_one_element_serves_one() {
    let house = House::start(&["--workers", "2"]);
    let mut clients: Vec<_> = (0..10).map(|_| wait_for(&house, "BLPOP q 0")).collect();
    let mut pusher = house.client();
    for (n, client) in clients.iter_mut().enumerate() {
        pusher.run(&format!("RPUSH q {n}"));
        assert_eq!(client.read(), pair("q", &n.to_string()));
        assert_eq!(waiting(&house), 9 - n);
        assert_eq!(pusher.run("LLEN q"), Value::Integer(0));
    }
}

#[test]
fn who_looks_again_waits_no_longer_for_that() {
    let house = House::start(&["--workers", "2"]);
    let answered = AtomicUsize::new(0);
    let mut client = wait_for(&house, "BLPOP q 0.5");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(client.read(), Value::NullArray);
            answered.store(1, Ordering::SeqCst);
        });
        let mut other = house.client();
        wait_until("its time is up", || {
            other.ok("SWAPDB 1 2");
            std::thread::sleep(Duration::from_millis(20));
            answered.load(Ordering::SeqCst) == 1
        });
    });
}

#[test]
fn one_push_of_several_elements_serves_as_many_in_order() {
    let house = House::start(&["--workers", "2"]);
    let mut clients: Vec<_> = (0..5).map(|_| wait_for(&house, "BLPOP q 0")).collect();
    let mut pusher = house.client();
    assert_eq!(pusher.run("RPUSH q 0 1 2"), Value::Integer(3));
    for (n, client) in clients.iter_mut().take(3).enumerate() {
        assert_eq!(client.read(), pair("q", &n.to_string()));
    }
    assert_eq!(waiting(&house), 2);
    assert_eq!(pusher.run("EXISTS q"), Value::Integer(0));
}

#[test]
fn who_was_fed_sees_that_a_key_has_expired_while_it_waited() {
    let house = House::start(&["--workers", "2"]);
    let mut client = house.client();
    client.ok("DEBUG SET-ACTIVE-EXPIRE 0");
    let mut mover = wait_for(&house, "BLMOVE source destination LEFT RIGHT 0");
    client.run("RPUSH destination old");
    client.run("PEXPIRE destination 1");
    wait_until("it has expired", || client.run("EXISTS destination") == Value::Integer(0));
    client.run("RPUSH source new");
    assert_eq!(mover.read().text(), "new");
    assert_eq!(client.run("LRANGE destination 0 -1").items().len(), 1);
    assert_eq!(client.run("PTTL destination"), Value::Integer(-1));
}

#[test]
fn a_client_that_waits_for_several_keys_takes_the_first_that_is_fed_and_leaves_the_rest() {
    let house = House::start(&["--workers", "2"]);
    let mut client = wait_for(&house, "BLPOP a b c 0");
    let mut pusher = house.client();
    pusher.run("RPUSH b 1");
    assert_eq!(client.read(), pair("b", "1"));
    assert_eq!(waiting(&house), 0);
    pusher.run("RPUSH c 1");
    assert_eq!(pusher.run("LLEN c"), Value::Integer(1));
}

#[test]
fn who_reads_for_a_group_is_told_that_its_stream_has_expired() {
    let house = House::start(&["--workers", "2"]);
    let mut writer = house.client();
    writer.ok("XGROUP CREATE s g 0 MKSTREAM");
    let mut reader = wait_for(&house, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
    writer.run("PEXPIRE s 50");
    let told = reader.read().render();
    assert!(told.starts_with("-NOGROUP"), "{told}");
}

#[test]
fn a_turn_that_was_not_needed_goes_to_the_next_who_waits() {
    let house = House::start(&["--workers", "1"]);
    let mut first = wait_for(&house, "BLPOP a b 0");
    let mut second = wait_for(&house, "BLPOP b 0");
    let mut pusher = house.client();
    // One burst: the first waiter has its turn on `b`, and finds that `a` holds something by now.
    burst(&mut pusher, &["RPUSH b 1", "RPUSH a 2"]);
    assert_eq!(first.read(), pair("a", "2"));
    assert_eq!(second.read(), pair("b", "1"));
}

#[test]
fn a_turn_that_is_passed_on_goes_to_who_waits_for_a_key_of_the_same_stripe() {
    let house = House::start(&["--workers", "2"]);
    let (fed, taken) = ("fed", house.neighbour("fed"));
    let mut first = wait_for(&house, &format!("BLPOP {taken} {fed} 0"));
    let mut second = wait_for(&house, &format!("BLPOP {fed} 0"));
    // The first is called to the one key, and takes from the other all the same.
    let pushes = [format!("RPUSH {fed} v"), format!("RPUSH {taken} v")];
    burst(&mut house.client(), &["MULTI", &pushes[0], &pushes[1], "EXEC"]);
    assert_eq!(first.read(), pair(&taken, "v"));
    assert_eq!(second.read(), pair(fed, "v"));
}

#[test]
fn several_keys_fed_by_one_transaction_serve_their_waiters_after_it() {
    let house = House::start(&["--workers", "2"]);
    let mut first = wait_for(&house, "BLPOP a 0");
    let mut second = wait_for(&house, "BRPOP b 0");
    let mut pusher = house.client();
    let replies =
        burst(&mut pusher, &["MULTI", "RPUSH a 1", "RPUSH b 1 2", "LLEN a", "DEL a", "RPUSH a 3", "EXEC"]);
    assert_eq!(replies[6].items()[2], Value::Integer(1));
    assert_eq!(first.read(), pair("a", "3"));
    assert_eq!(second.read(), pair("b", "2"));
    assert_eq!(pusher.run("LRANGE b 0 -1").items().len(), 1);
}

#[test]
fn the_turn_of_who_goes_away_goes_to_the_next_who_waits() {
    let house = House::start(&["--workers", "2"]);
    let mut first = house.client();
    let id = first.run("CLIENT ID").integer();
    send_burst(&mut first, &["BLPOP k 0"]);
    wait_until("it waits", || waiting(&house) == 1);
    let mut second = wait_for(&house, "BLPOP k 0");
    burst(&mut house.client(), &["MULTI", "RPUSH k v", &format!("CLIENT KILL ID {id}"), "EXEC"]);
    assert_eq!(first.read(), Value::Closed);
    assert_eq!(second.read(), pair("k", "v"));
}

#[test]
fn a_transaction_that_leaves_nothing_serves_nobody() {
    let house = House::start(&["--workers", "2"]);
    let mut client = wait_for(&house, "BLPOP a 0");
    let mut pusher = house.client();
    burst(&mut pusher, &["MULTI", "RPUSH a 1", "DEL a", "EXEC"]);
    pusher.ok("SET a string");
    assert_eq!(waiting(&house), 1);
    pusher.run("DEL a");
    pusher.run("RPUSH a 2");
    assert_eq!(client.read(), pair("a", "2"));
}

#[test]
fn rename_move_and_swapdb_feed_those_who_wait() {
    let house = House::start(&["--workers", "2"]);
    let mut other = house.client();
    let mut client = wait_for(&house, "BLPOP q 0");
    other.run("RPUSH source 1");
    other.ok("RENAME source q");
    assert_eq!(client.read(), pair("q", "1"));

    let mut client = wait_in(&house, 1, "BLPOP q 0");
    other.run("RPUSH q 2");
    assert_eq!(other.run("MOVE q 1"), Value::Integer(1));
    assert_eq!(client.read(), pair("q", "2"));

    let mut client = wait_for(&house, "BLPOP q 0");
    let mut third = house.client_in(2);
    third.run("RPUSH q 3");
    other.ok("SWAPDB 0 2");
    assert_eq!(client.read(), pair("q", "3"));
}

#[test]
fn who_waits_through_a_flush_or_swap_is_served_by_the_next_push() {
    let house = House::start(&["--workers", "2"]);
    let mut other = house.client();
    for line in ["FLUSHALL", "FLUSHDB", "SWAPDB 0 3"] {
        other.ok("SET something v");
        let mut client = wait_for(&house, "BLPOP q 0");
        other.ok(line);
        other.run("RPUSH q 1");
        assert_eq!(client.read(), pair("q", "1"));
        assert_eq!(waiting(&house), 0);
    }
}

#[test]
fn who_looks_again_and_finds_another_type_goes_on_waiting() {
    let house = House::start(&["--workers", "2"]);
    let mut other = house.client();
    for change in [&["SELECT 1", "SET q v", "SWAPDB 0 1", "SELECT 0"][..], &["FLUSHDB", "SET q v"]] {
        for command in ["BLPOP q 0", "BZPOPMIN q 0", "BLMOVE q to LEFT LEFT 0"] {
            other.ok("SET something v");
            let mut client = wait_for(&house, command);
            burst(&mut other, &[&["MULTI"], change, &["EXEC"]].concat());
            other.run("DEL q");
            other.run(if command.starts_with("BZ") { "ZADD q 1 m" } else { "RPUSH q 1" });
            assert!(!matches!(client.read(), Value::Error(_)), "{command} after {change:?}");
            assert_eq!(waiting(&house), 0);
            other.ok("FLUSHALL");
        }
    }
}

#[test]
fn who_was_fed_in_a_database_that_went_away_is_served_by_the_next_push() {
    let house = House::start(&["--workers", "2"]);
    let mut other = house.client();
    for line in ["FLUSHALL", "SWAPDB 0 3"] {
        let mut client = wait_for(&house, "BLPOP q 0");
        burst(&mut other, &["MULTI", "RPUSH q lost", line, "EXEC"]);
        other.run("RPUSH q 1");
        assert_eq!(client.read(), pair("q", "1"));
        assert_eq!(waiting(&house), 0);
    }
}

#[test]
fn client_unblock_ends_a_wait_and_takes_nothing() {
    let house = House::start(&["--workers", "2"]);
    let mut other = house.client();
    let commands =
        ["BLPOP q 0", "BLMOVE q to LEFT RIGHT 0", "BRPOPLPUSH q to 0", "BLMPOP 0 2 p q LEFT COUNT 2"];
    let modes = [
        ("TIMEOUT", Value::NullArray),
        ("ERROR", Value::Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK".to_vec())),
    ];
    for (command, (mode, answer)) in commands.iter().flat_map(|c| modes.iter().map(move |m| (c, m.clone()))) {
        let mut client = house.client();
        let id = client.run("CLIENT ID").integer();
        send_burst(&mut client, &[command]);
        wait_until("it waits", || waiting(&house) == 1);
        assert_eq!(other.run(&format!("CLIENT UNBLOCK {id} {mode}")), Value::Integer(1));
        assert_eq!(client.read(), answer);
        assert_eq!(other.run(&format!("CLIENT UNBLOCK {id}")), Value::Integer(0));
        assert_eq!(waiting(&house), 0);
    }
}

#[test]
fn client_unblock_says_that_it_does_not_reach_who_waits_for_replicas() {
    let house = House::start(&["--workers", "2"]);
    let (mut client, mut other) = (house.client(), house.client());
    let id = client.run("CLIENT ID").integer();
    send_burst(&mut client, &["WAIT 1 300"]);
    wait_until("it waits", || other.run("INFO clients").text().contains("blocked_clients:1"));
    assert_eq!(other.run(&format!("CLIENT UNBLOCK {id}")), Value::Integer(0));
    assert_eq!(client.read(), Value::Integer(0));
}

#[test]
fn a_chain_of_moves_takes_an_element_from_its_one_end_to_the_other() {
    const LINKS: usize = 12;
    let house = House::start(&["--workers", "2"]);
    // The last link waits first, so that each waits for what does not exist yet.
    let mut links: Vec<_> = (0..LINKS)
        .rev()
        .map(|n| wait_for(&house, &format!("BLMOVE chain{n} chain{} LEFT RIGHT 0", n + 1)))
        .collect();
    let mut pusher = house.client();
    assert_eq!(pusher.run("RPUSH chain0 element"), Value::Integer(1));
    for link in &mut links {
        assert_eq!(link.read(), Value::Bulk(b"element".to_vec()));
    }
    assert_eq!(waiting(&house), 0);
    assert_eq!(pusher.run(&format!("LPOP chain{LINKS}")).text(), "element");
    assert_eq!(house.check_size(0), 0);
}

#[test]
fn a_move_whose_destination_has_another_type_leaves_the_element_to_the_next_who_waits() {
    let house = House::start(&["--workers", "2"]);
    let mut pusher = house.client();
    pusher.ok("SET string v");
    let mut first = wait_for(&house, "BLMOVE q string LEFT RIGHT 0");
    let mut second = wait_for(&house, "BRPOPLPUSH q string 0");
    let mut third = wait_for(&house, "BLMPOP 0 1 q LEFT COUNT 5");
    pusher.run("RPUSH q 1 2");
    for client in [&mut first, &mut second] {
        assert!(matches!(client.read(), Value::Error(text) if text.starts_with(b"WRONGTYPE")));
    }
    assert_eq!(third.read().items()[1].items().len(), 2);
    assert_eq!(waiting(&house), 0);
}

#[test]
fn moves_on_the_same_stripe_and_in_rings_serve_each_other() {
    let house = House::start(&["--workers", "2"]);
    let neighbour = house.neighbour("q");
    let mut pusher = house.client();
    let mut first = wait_for(&house, &format!("BLMOVE q {neighbour} LEFT RIGHT 0"));
    let mut second = wait_for(&house, &format!("BLMOVE {neighbour} q LEFT RIGHT 0"));
    let mut third = wait_for(&house, "BLMOVE q q LEFT RIGHT 0");
    let mut last = wait_for(&house, &format!("BLPOP {neighbour} q 0"));
    pusher.run("RPUSH q x");
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.read(), Value::Bulk(b"x".to_vec()));
    }
    assert_eq!(last.read(), pair("q", "x"));
    assert_eq!(waiting(&house), 0);
}

#[test]
fn elements_on_their_way_through_moves_are_not_lost_when_movers_time_out_and_disconnect() {
    const ELEMENTS: usize = 2000;
    let seed = crate::chance::seed();
    println!("TUFF_SEED={seed}");
    let house = House::start(&["--workers", "2"]);
    let arrived = AtomicUsize::new(0);
    let mut popped: Vec<u64> = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = house.client();
            (0..ELEMENTS).for_each(|n| drop(client.run(&format!("RPUSH stage0 {n}"))));
        });
        for mover in 0..4 {
            let (house, arrived) = (&house, &arrived);
            scope.spawn(move || {
                let (mut chance, mut client) = (Chance::new(seed + mover), house.client());
                while arrived.load(Ordering::SeqCst) < ELEMENTS {
                    let from = mover % 2;
                    let line = match chance.below(2) {
                        0 => format!("BLMOVE stage{from} stage{} LEFT RIGHT 0.01", from + 1),
                        _ => format!("BRPOPLPUSH stage{from} stage{} 0.005", from + 1),
                    };
                    send_burst(&mut client, &[&line]);
                    if chance.one_in(8) {
                        std::thread::sleep(Duration::from_micros(chance.below(2000)));
                        client = house.client();
                    } else {
                        client.read();
                    }
                }
            });
        }
        let mut client = house.client();
        let limit = std::time::Instant::now() + super::PATIENCE;
        while popped.len() < ELEMENTS {
            assert!(std::time::Instant::now() < limit, "only {} arrived", popped.len());
            if let Value::Array(items) = client.run("BLMPOP 0.1 1 stage2 LEFT COUNT 10") {
                popped.extend(items[1].items().iter().map(|item| item.text().parse::<u64>().unwrap()));
                arrived.store(popped.len(), Ordering::SeqCst);
            }
        }
    });
    popped.sort_unstable();
    assert!(popped.iter().copied().eq(0..ELEMENTS as u64), "an element was lost or came twice");
    assert_eq!(house.check_size(0), 0);
    wait_until("nobody waits", || waiting(&house) == 0);
}

#[test]
fn clients_that_go_away_while_they_wait_leave_nothing_behind() {
    let house = House::start(&["--workers", "2"]);
    let clients: Vec<_> = (0..20).map(|_| wait_for(&house, "BLPOP q other 0")).collect();
    for (n, client) in clients.into_iter().enumerate() {
        let stream = client.sender();
        if n % 2 == 0 {
            // Gone with a reset, not a goodbye.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop((stream, client));
    }
    wait_until("nobody waits", || waiting(&house) == 0);
    let mut pusher = house.client();
    assert_eq!(pusher.run("RPUSH q 1"), Value::Integer(1));
    assert_eq!(pusher.run("LLEN q"), Value::Integer(1));
}

#[test]
fn a_client_that_does_not_read_its_replies_holds_nobody_up() {
    let house = House::start(&["--workers", "2"]);
    let mut pusher = house.client();
    let value = "v".repeat(4 << 20);
    pusher.ok(&format!("SET big {value}"));
    let mut deaf = house.client();
    send_burst(&mut deaf, &["GET big", "GET big", "GET big", "GET big", "BLPOP q 0"]);
    // Whether it already waits or is still stuck in its replies: a push and a look at the key are answered.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(pusher.run("RPUSH q 1"), Value::Integer(1));
    pusher.run("LLEN q").integer();
    for _ in 0..4 {
        assert_eq!(deaf.read().bytes().map(<[u8]>::len), Some(4 << 20));
    }
    assert_eq!(deaf.read(), pair("q", "1"));
}

#[test]
fn nothing_is_lost_or_served_twice_when_clients_time_out_and_disconnect() {
    const ELEMENTS: usize = 10_000;
    const PUSHERS: usize = 2;
    let seed = crate::chance::seed();
    println!("TUFF_SEED={seed}");
    let house = House::start(&["--workers", "2"]);
    let popped_count = AtomicUsize::new(0);
    let mut popped: Vec<u64> = Vec::new();
    std::thread::scope(|scope| {
        for pusher in 0..PUSHERS {
            let house = &house;
            scope.spawn(move || {
                let mut chance = Chance::new(seed + pusher as u64);
                let mut client = house.client();
                let mut next = pusher;
                while next < ELEMENTS {
                    let key = chance.below(4);
                    let mut words = vec!["RPUSH".to_string(), format!("q{key}")];
                    for _ in 0..1 + chance.below(5) {
                        if next < ELEMENTS {
                            words.push(next.to_string());
                            next += PUSHERS;
                        }
                    }
                    client.call(&words).integer();
                }
            });
        }
        let poppers: Vec<_> = (0..6)
            .map(|popper| {
                let (house, popped_count) = (&house, &popped_count);
                scope.spawn(move || {
                    pop_until_all(house, Chance::new(seed + 100 + popper), popped_count, ELEMENTS)
                })
            })
            .collect();
        for popper in poppers {
            popped.extend(popper.join().unwrap());
        }
    });
    let distinct: BTreeSet<_> = popped.iter().copied().collect();
    assert_eq!(popped.len(), distinct.len(), "an element was served twice");
    assert_eq!(popped.len(), ELEMENTS, "elements were lost");
    assert_eq!(house.check_size(0), 0);
    wait_until("nobody waits", || waiting(&house) == 0);
}

/// Pops as ever other clients until all elements are popped. What a client gets after it has said goodbye counts, too.
fn pop_until_all(house: &House, mut chance: Chance, popped_count: &AtomicUsize, all: usize) -> Vec<u64> {
    let mut mine = Vec::new();
    let idle_limit = std::time::Instant::now() + super::PATIENCE;
    let mut client = house.client();
    while popped_count.load(Ordering::SeqCst) < all {
        assert!(
            std::time::Instant::now() < idle_limit,
            "only {} popped",
            popped_count.load(Ordering::SeqCst)
        );
        let first = chance.below(4);
        let command = *chance.pick(&["BLPOP", "BRPOP"]);
        let timeout = *chance.pick(&["0.001", "0.01", "0.05"]);
        send_burst(
            &mut client,
            &[&format!("{command} q{first} q{} q{} {timeout}", (first + 1) % 4, (first + 2) % 4)],
        );
        let leaves = chance.one_in(8);
        if leaves {
            std::thread::sleep(Duration::from_micros(chance.below(3000)));
            client.sender().shutdown(Shutdown::Write).unwrap();
        }
        match client.read() {
            Value::Array(items) => {
                mine.push(items[1].text().parse().unwrap());
                popped_count.fetch_add(1, Ordering::SeqCst);
            }
            Value::NullArray | Value::Closed => {}
            other => panic!("{}", other.render()),
        }
        if leaves {
            client = house.client();
        }
    }
    mine
}

/// More than a worker's part of time, so that it writes from the pool.
const LONG_SCRIPT: &str =
    "for i = 1, 300000 do end redis.call('RPUSH', KEYS[1], 'a') for i = 1, 300000 do end";

/// Clients that say these lines again and again, for some seconds. Where one waits for another in a circle, one of them is without an
/// answer for longer than any client waits.
fn all_come_through(lines: &[&[&str]]) {
    let house = House::start(&["--workers", "2"]);
    let end = Instant::now() + Duration::from_secs(5);
    std::thread::scope(|scope| {
        for line in lines {
            let mut client = house.client();
            scope.spawn(move || {
                while Instant::now() < end {
                    client.call(line);
                }
            });
        }
    });
    assert_eq!(house.client().run("PING"), Value::Simple("PONG".into()));
}

#[test]
fn waiters_pool_threads_and_whoever_wants_to_be_alone_come_through() {
    let blocked: &[&str] = &["BLPOP", "k", "0.1"];
    let script: &[&str] = &["EVAL", LONG_SCRIPT, "1", "k"];
    let library: &[&str] = &[
        "FUNCTION",
        "LOAD",
        "REPLACE",
        "#!lua name=a\nredis.register_function('f', function() return 1 end)",
    ];
    all_come_through(&[blocked, blocked, script, script, library, &["FLUSHALL"]]);
}

#[test]
fn waiters_that_have_much_to_take_come_through_between_heavy_commands() {
    let blocked: &[&str] = &["BLMPOP", "0.1", "1", "k", "LEFT", "COUNT", "100000"];
    let script: &[&str] = &["EVAL", LONG_SCRIPT, "1", "k"];
    let mut push = vec!["RPUSH", "k"];
    push.resize(30_002, "element");
    all_come_through(&[blocked, blocked, &push, &push, script, script, script, script, script, script]);
}
