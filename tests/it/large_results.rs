//! kill -9 while a large result is written before its head: it is there whole, or what was there before is; and others keep working
//! meanwhile.
//!
//! The moment of the kill is told by another client's commands: how many of them were answered since the large one was sent.

use crate::chance::{Chance, seed};
use crate::client::{Client, encode};
use crate::server::{Server, durable_options, subject_is_oracle};
use crate::value::Value;

const MEMBERS: u64 = 60_000;
/// Members that both sources have.
const COMMON: u64 = 20_000;

/// A command that stores under `to`, what answers how many members that has, and how many it must be.
const COMMANDS: [(&str, &str, u64); 5] = [
    ("SUNIONSTORE to a b", "SCARD to", 2 * MEMBERS - COMMON),
    ("ZUNIONSTORE to 2 a b", "ZCARD to", 2 * MEMBERS - COMMON),
    ("SINTERSTORE to a b", "SCARD to", COMMON),
    ("SDIFFSTORE to a b", "SCARD to", MEMBERS - COMMON),
    ("COPY a to REPLACE", "SCARD to", MEMBERS),
];

fn fill(client: &mut Client, key: &str, from: u64) {
    let numbers: Vec<u64> = (from..from + MEMBERS).collect();
    for part in numbers.chunks(1000) {
        let mut words = vec!["SADD".to_owned(), key.to_owned()];
        words.extend(part.iter().map(|number| format!("member:{number}")));
        assert_eq!(client.call(&words), Value::Integer(1000));
    }
}

/// Sends a command and sets keys from another connection until `sets` of them are answered, or the command is. Gives how many were,
/// and whether the command was answered.
fn run_beside(server: &Server, command: &str, sets: u64) -> (u64, bool) {
    let (mut large, mut small) = (server.client(), server.client());
    let words: Vec<&str> = command.split(' ').collect();
    let mut request = Vec::new();
    encode(&words, &mut request);
    large.send_raw(&request).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let reply = large.read();
            done.store(true, std::sync::atomic::Ordering::SeqCst);
            reply
        });
        let mut answered = 0;
        while answered < sets && !done.load(std::sync::atomic::Ordering::SeqCst) {
            small.ok(&format!("SET beside:{} {answered}", answered % 10));
            answered += 1;
        }
        let is_answered = done.load(std::sync::atomic::Ordering::SeqCst);
        if is_answered {
            assert!(matches!(reader.join().unwrap(), Value::Integer(_)), "{command}");
        } else {
            // The connection ends with the server, and with it the reader.
            let pid = server.id().to_string();
            assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        }
        (answered, is_answered)
    })
}

#[test]
fn a_large_result_is_whole_or_absent_after_a_kill() {
    if subject_is_oracle() {
        return;
    }
    let seed = seed();
    let mut chance = Chance::new(seed);
    let mut server = Server::tuff(&durable_options());
    let mut client = server.client();
    fill(&mut client, "a", 0);
    fill(&mut client, "b", MEMBERS - COMMON);
    let mut halfway = 0;
    for (command, card, members) in COMMANDS {
        // Undisturbed: it tells how long the command takes, counted in other commands.
        let (sets, is_answered) = run_beside(&server, command, u64::MAX);
        assert!(is_answered && sets > 0, "{command}: nobody else was served");
        let mut client = server.client();
        assert_eq!(client.run(card), Value::Integer(members as i64), "{command}");
        client.run("DEL to");
        client.run("SADD to old");
        let (_, is_answered) = run_beside(&server, command, 1 + chance.below(sets));
        halfway += u64::from(!is_answered);
        server.start_again();
        let mut client = server.client();
        let found = match client.run("TYPE to") {
            Value::Simple(kind) if kind == b"zset" => client.run("ZCARD to"),
            _ => client.run("SCARD to"),
        };
        let is_whole = found == Value::Integer(members as i64);
        assert!(
            is_whole || (!is_answered && found == Value::Integer(1)),
            "{command}: {found:?}, seed {seed}"
        );
        for key in ["a", "b"] {
            assert_eq!(client.run(&format!("SCARD {key}")), Value::Integer(MEMBERS as i64));
        }
        let keys = match client.run("KEYS *") {
            Value::Array(keys) => keys.len() as i64,
            other => panic!("{other:?}"),
        };
        assert_eq!(client.run("DBSIZE"), Value::Integer(keys), "{command}, seed {seed}");
    }
    assert!(halfway > 0, "no command was killed halfway, seed {seed}");
}
