//! Libraries of functions beyond what a transcript can say: crashes, dumps exchanged with Redis, functions that run for long.

use crate::chance::{Chance, seed};
use crate::client::Client;
use crate::server::{Server, durable_options, subject_is_oracle};
use crate::value::Value;
use std::time::{Duration, Instant};

/// A library `name` with one function of the same name that answers `answer`.
fn library(name: &str, answer: u64) -> String {
    format!("#!lua name={name}\nredis.register_function('{name}', function() return {answer} end)")
}

fn load(client: &mut Client, name: &str, answer: u64) {
    let code = library(name, answer);
    assert_eq!(client.call(&["FUNCTION", "LOAD", "REPLACE", &code]), Value::Bulk(name.into()));
}

#[test]
fn libraries_survive_kill_9() {
    let mut server = Server::tuff(&durable_options());
    let mut client = server.client();
    load(&mut client, "stays", 1);
    load(&mut client, "goes", 2);
    load(&mut client, "changes", 3);
    assert_eq!(client.run("FUNCTION DELETE goes"), Value::Simple("OK".into()));
    load(&mut client, "changes", 4);
    let listed = client.run("FUNCTION LIST WITHCODE");
    server.kill();
    server.start_again();
    let mut client = server.client();
    if !subject_is_oracle() {
        assert_eq!(client.run("FUNCTION LIST WITHCODE"), listed);
    }
    assert_eq!(client.run("FCALL stays 0"), Value::Integer(1));
    assert_eq!(client.run("FCALL changes 0"), Value::Integer(4));
    assert_eq!(client.run("FCALL goes 0"), Value::Error("ERR Function not found".into()));
    client.ok("FUNCTION FLUSH");
    server.kill();
    server.start_again();
    assert_eq!(server.client().run("FUNCTION LIST"), Value::Array(Vec::new()));
}

/// A library's text of many lengths, more or less fit to be compressed.
fn random_library(chance: &mut Chance, number: u64) -> String {
    let mut code = library(&format!("lib{number}"), number);
    for _ in 0..chance.below(60) {
        let line = match chance.below(4) {
            0 => "\nlocal t = {}".to_owned(),
            1 => format!("\n-- {}", "abc".repeat(chance.below(200) as usize)),
            2 => format!("\n-- {}", chance.below(1 << 40)),
            _ => format!("\n--{}", "x".repeat(chance.below(40) as usize)),
        };
        code.push_str(&line);
    }
    code
}

#[test]
fn dumps_are_equal_to_those_of_redis_and_restore_on_either_side() {
    let seed = seed();
    let mut chance = Chance::new(seed);
    let (server, oracle) = (Server::tuff(&[]), Server::redis(&[]));
    let (mut ours, mut theirs) = (server.client(), oracle.client());
    for number in 0..150 {
        let code = random_library(&mut chance, number);
        for client in [&mut ours, &mut theirs] {
            client.ok("FUNCTION FLUSH");
            client.call(&["FUNCTION", "LOAD", &code]);
        }
        let dump = ours.run("FUNCTION DUMP");
        assert_eq!(dump, theirs.run("FUNCTION DUMP"), "seed {seed}: {code}");
        let Value::Bulk(dump) = dump else { panic!("no dump: {dump:?}") };
        for client in [&mut ours, &mut theirs] {
            client.call(&[&b"FUNCTION"[..], b"RESTORE", &dump, b"REPLACE"]);
            let listed = client.call(&["FUNCTION", "LIST", "WITHCODE"]);
            assert!(listed.render().contains(&format!("lib{number}")), "seed {seed}");
        }
        assert_eq!(ours.run("FUNCTION LIST WITHCODE"), theirs.run("FUNCTION LIST WITHCODE"));
    }
}

#[test]
fn damaged_dumps_do_no_harm() {
    let seed = seed();
    let mut chance = Chance::new(seed);
    let server = Server::tuff(&[]);
    let mut client = server.client();
    load(&mut client, "kept", 1);
    let Value::Bulk(dump) = client.run("FUNCTION DUMP") else { panic!("no dump") };
    for _ in 0..300 {
        let mut damaged = dump.clone();
        // A checksum of 0 says that there is none, so that what lies under it is read.
        let footer = damaged.len() - 8;
        damaged[footer..].fill(0);
        for _ in 0..=chance.below(3) {
            let at = chance.below(footer as u64) as usize;
            damaged[at] = chance.below(256) as u8;
        }
        client.call(&[&b"FUNCTION"[..], b"RESTORE", &damaged, b"REPLACE"]);
        let answer = client.run("PING");
        assert_eq!(answer, Value::Simple("PONG".into()), "seed {seed}: {damaged:?}");
    }
}

/// What FUNCTION STATS says of the function that runs, as soon as one does.
fn running(client: &mut Client) -> String {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let stats = client.run("FUNCTION STATS").render();
        if stats.contains("duration_ms") {
            return stats;
        }
        assert!(Instant::now() < limit, "no function ran");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_function_that_runs_is_shown_and_killed() {
    let server = Server::tuff(&[]);
    let (mut caller, mut client) = (server.client(), server.client());
    let code = "#!lua name=lib\nredis.register_function('forever', function(keys)\n\
                while true do end end)";
    client.call(&["FUNCTION", "LOAD", code]);
    caller.send(&["FCALL", "forever", "1", "k", "word"]).unwrap();
    let stats = running(&mut client);
    for word in ["forever", "FCALL", "word"] {
        assert!(stats.contains(word), "{word}: {stats}");
    }
    let other = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
    assert_eq!(client.run("SCRIPT KILL"), Value::Error(other.into()));
    client.ok("FUNCTION KILL");
    let killed = "ERR Script killed by user with SCRIPT KILL... script: forever, on @user_function:3.";
    assert_eq!(caller.read(), Value::Error(killed.into()));
    let nothing = "NOTBUSY No scripts in execution right now.";
    assert_eq!(client.run("FUNCTION KILL"), Value::Error(nothing.into()));
}

#[test]
fn a_killed_function_has_written_nothing() {
    if subject_is_oracle() {
        return;
    }
    let server = Server::tuff(&[]);
    let (mut caller, mut client) = (server.client(), server.client());
    let code = "#!lua name=lib\nredis.register_function('forever', function(keys)\n\
                redis.call('SET', 'written', 1) while true do end end)";
    client.call(&["FUNCTION", "LOAD", code]);
    caller.send(&["FCALL", "forever", "0"]).unwrap();
    running(&mut client);
    client.ok("FUNCTION KILL");
    assert!(matches!(caller.read(), Value::Error(_)));
    assert_eq!(client.run("EXISTS written"), Value::Integer(0));
}

#[test]
fn a_function_is_the_new_one_on_every_worker_once_it_was_replaced() {
    let server = Server::tuff(&[]);
    let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for answer in 0..20 {
        load(&mut clients[answer as usize % 8], "f", answer);
        for client in &mut clients {
            assert_eq!(client.run("FCALL f 1 k"), Value::Integer(answer.cast_signed()));
        }
    }
}
