//! What a server tells of its clients' commands: the slow log, MONITOR; and CLIENT PAUSE, which holds them back. Each test says the
//! same to Tuff and to the oracle, and what can be compared must be equal.

use crate::client::{Client, encode};
use crate::server::Server;
use crate::value::Value;

const OPTIONS: [&str; 2] = ["--enable-debug-command", "yes"];

/// What both servers make of the same story must be the same.
fn compare<T: PartialEq + std::fmt::Debug>(story: impl Fn(&Server) -> T) {
    let (tuff, redis) = (story(&Server::tuff(&OPTIONS)), story(&Server::redis(&OPTIONS)));
    assert_eq!(tuff, redis);
}

fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        other => panic!("not an array: {}", other.render()),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) | Value::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("not a text: {}", other.render()),
    }
}

/// The entries of the slow log, oldest first: words, name, and whether there is an address.
fn slow_entries(client: &mut Client) -> Vec<(Vec<String>, String, bool)> {
    let entries = items(client.run("SLOWLOG GET -1"));
    let mut ids = Vec::new();
    let mut shown: Vec<_> = entries
        .into_iter()
        .map(|entry| {
            let fields = items(entry);
            assert_eq!(fields.len(), 6);
            let Value::Integer(id) = fields[0] else { panic!("no id") };
            ids.push(id);
            assert!(matches!(fields[1], Value::Integer(at_s) if at_s > 1_600_000_000));
            assert!(
                matches!(fields[2], Value::Integer(duration_us) if (0..60_000_000).contains(&duration_us))
            );
            let words = items(fields[3].clone()).iter().map(text).collect();
            (words, text(&fields[5]), text(&fields[4]).starts_with("127.0.0.1:"))
        })
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1] + 1), "{ids:?}");
    shown.reverse();
    shown
}

#[test]
fn the_slow_log_notes_what_redis_notes() {
    compare(|server| {
        let mut client = server.client();
        client.ok("CLIENT SETNAME me");
        client.ok("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 1000");
        client.ok("SLOWLOG RESET");
        // A burst, of which Tuff makes one group.
        let mut burst = Vec::new();
        for words in [&["SET", "a", "1"][..], &["SET", "b", "x y"], &["LPUSH", "a", "1"], &["GET", "a"]] {
            encode(words, &mut burst);
        }
        burst.extend_from_slice(b"\r\n");
        encode(&["INCR", "a"], &mut burst);
        client.send_raw(&burst).unwrap();
        (0..5).for_each(|_| drop(client.read()));
        for line in ["NOSUCH", "GET", "MULTI", "SET c 1", "LPUSH c 1", "NOSUCH"] {
            client.run(line);
        }
        for line in
            ["EXEC", "MULTI", "SET c 1", "LPUSH c 1", "EXEC", "BLPOP nokey 0.01", "AUTH pw", "AUTH me pw"]
        {
            client.run(line);
        }
        for line in
            ["HELLO 2 AUTH me pw", "CONFIG SET requirepass pw", "CONFIG GET port", "SUBSCRIBE s", "RESET"]
        {
            client.run(line);
        }
        client.run("AUTH pw");
        let script = "redis.call('SET', KEYS[1], 1) return redis.pcall('LPUSH', KEYS[1], 1)";
        client.call(&["EVAL", script, "1", "s"]);
        let many: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        client.call(&[&["DEL".to_owned()][..], &many].concat());
        client.call(&["SET", "long", &"x".repeat(200)]);
        client.run("CONFIG SET requirepass pw slowlog-log-slower-than -1");
        client.run("PING");
        slow_entries(&mut client)
    });
}

#[test]
fn only_slow_commands_are_noted_and_a_wait_is_not_slow() {
    compare(|server| {
        let (mut client, mut other) = (server.client(), server.client());
        client.ok("CONFIG SET slowlog-log-slower-than 60000");
        client.ok("SLOWLOG RESET");
        client.ok("SET a 1");
        client.run("BLPOP nokey 0.1");
        other.send(&["BLPOP", "list", "0"]).unwrap();
        client.ok("DEBUG SLEEP 0.1");
        client.run("RPUSH list x");
        other.read();
        client.ok("CONFIG SET slowlog-max-len 0");
        client.ok("DEBUG SLEEP 0.1");
        slow_entries(&mut client)
    });
}
