//! Connections go from worker to worker while they talk, and lose nothing on the way.

use super::*;

const WORKERS: usize = 4;
const ROUNDS: i64 = 300;

/// Two increments of one key, the second cut in two, so that a connection moves with half a request in its buffer.
fn talk(client: &mut Client, key: &str) {
    for round in 1..=ROUNDS {
        let mut bytes = Vec::new();
        encode(&["INCR", key], &mut bytes);
        encode(&["INCR", key], &mut bytes);
        let (first, rest) = bytes.split_at(bytes.len() - 3);
        client.send_raw(first).unwrap();
        assert_eq!(client.read(), Value::Integer(2 * round - 1));
        client.send_raw(rest).unwrap();
        assert_eq!(client.read(), Value::Integer(2 * round));
    }
}

/// Runs `work` while the number of workers in use changes all the time.
fn while_workers_change(house: &House, work: impl Fn() + Sync) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                house.server().use_workers(1 + round % WORKERS);
                if over.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        let _ends = RaiseAtEnd(&over);
        work();
    });
    assert!(
        house.node().traffic.moved.load(Ordering::Relaxed) > 20,
        "the connections stayed where they were"
    );
}

#[test]
fn requests_cut_in_two_are_whole_where_the_connection_arrives() {
    let house = House::start(&["--workers", "4"]);
    while_workers_change(&house, || {
        std::thread::scope(|scope| {
            for number in 0..6 {
                let house = &house;
                scope.spawn(move || {
                    let mut client = house.client_in(number);
                    client.ok(&format!("CLIENT SETNAME caller{number}"));
                    talk(&mut client, "counter");
                    assert_eq!(client.run("CLIENT GETNAME"), bulk(&format!("caller{number}")));
                });
            }
        });
    });
    for number in 0..6 {
        assert_eq!(house.client_in(number).run("GET counter"), bulk(&(2 * ROUNDS).to_string()));
    }
}

#[test]
fn transactions_and_watches_move_with_their_connection() {
    let house = House::start(&["--workers", "4"]);
    while_workers_change(&house, || {
        let (mut client, mut other) = (house.client(), house.client());
        for round in 1..=ROUNDS {
            client.ok("WATCH watched");
            client.ok("MULTI");
            assert_eq!(client.run("INCR count").text(), "QUEUED");
            let is_broken = round % 3 == 0;
            if is_broken {
                other.run("INCR watched");
            }
            assert_eq!(client.run("EXEC") == Value::NullArray, is_broken, "round {round}");
        }
        assert_eq!(client.run("GET count"), bulk(&(ROUNDS - ROUNDS / 3).to_string()));
    });
}

#[test]
fn a_listener_that_moves_gets_every_message_in_order() {
    let house = House::start(&["--workers", "4"]);
    while_workers_change(&house, || {
        let (mut listener, mut speaker) = (house.client(), house.client());
        listener.run("SUBSCRIBE news");
        for round in 0..ROUNDS {
            assert_eq!(speaker.run(&format!("PUBLISH news {round}")), Value::Integer(1));
            let Value::Array(parts) = listener.read() else { panic!("no message") };
            assert_eq!(parts[2], bulk(&round.to_string()));
            // Having spoken, it comes to rest, and moves.
            listener.run("PING");
        }
    });
}
