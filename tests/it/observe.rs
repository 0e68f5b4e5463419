//! What a server tells of its clients' commands: the slow log, MONITOR; and CLIENT PAUSE, which holds them back. Each test says the
//! same to Tuff and to the oracle, and what can be compared must be equal.

use crate::client::{Client, encode};
use crate::server::Server;
use crate::value::Value;
use std::collections::BTreeSet;

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

/// Waits until so many clients are blocked.
fn wait_for_blocked(client: &mut Client, count: usize) {
    let wanted = format!("blocked_clients:{count}\r\n");
    loop {
        let Value::Bulk(info) = client.run("INFO clients") else { panic!("no INFO") };
        if String::from_utf8_lossy(&info).contains(&wanted) {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn nothing_expires_during_a_pause_and_who_is_held_back_can_only_be_killed() {
    compare(|server| {
        let (mut client, mut other) = (server.client(), server.client());
        let mut said = Vec::new();
        client.ok("CLIENT PAUSE 1000000000 WRITE");
        let Value::Integer(id) = other.run("CLIENT ID") else { panic!("no id") };
        other.send(&["SET", "k", "lost"]).unwrap();
        wait_for_blocked(&mut client, 1);
        let Value::Bulk(line) = client.run(&format!("CLIENT LIST ID {id}")) else { panic!("no list") };
        said.push(Value::Simple(
            if String::from_utf8_lossy(&line).contains(" flags=b ") { "b" } else { "?" }.into(),
        ));
        said.push(client.run(&format!("CLIENT UNBLOCK {id}")));
        said.push(client.run(&format!("CLIENT KILL ID {id}")));
        said.push(other.read());
        wait_for_blocked(&mut client, 0);
        client.ok("CLIENT UNPAUSE");
        said.push(client.run("GET k"));
        // The key is due while the pause lasts: hidden, and still there.
        client.ok("SET k v PX 60");
        client.ok("CLIENT PAUSE 1000000000 WRITE");
        while client.run("EXISTS k") != Value::Integer(0) {}
        client.ok("DEBUG SLEEP 0.3");
        said.extend(["DBSIZE", "GET k", "TTL k", "DBSIZE"].map(|line| client.run(line)));
        client.ok("CLIENT UNPAUSE");
        while client.run("DBSIZE") != Value::Integer(0) {}
        said
    });
}

/// What a monitor has seen until somebody said `ECHO end`: without times (they must not go back), ports by the names of connections.
fn lines_seen(monitor: &mut Client, ports: &[(&str, u16)]) -> Vec<String> {
    let mut seen = Vec::new();
    let mut last = String::new();
    loop {
        let Value::Simple(line) = monitor.read() else { panic!("no line") };
        let line = String::from_utf8(line).unwrap();
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() == "1795261093.611337".len() && last.as_str() <= time, "{last} {line}");
        last = time.to_owned();
        if rest.ends_with("] \"ECHO\" \"end\"") {
            return seen;
        }
        let named = ports.iter().fold(rest.to_owned(), |line, (name, port)| {
            line.replacen(&format!("127.0.0.1:{port}]"), &format!("{name}]"), 1)
        });
        seen.push(named);
    }
}

#[test]
fn a_monitor_is_shown_what_redis_shows_in_the_order_of_the_run() {
    compare(|server| {
        let (mut client, mut other, mut monitor) = (server.client(), server.client(), server.client());
        let port = |client: &Client| client.sender().local_addr().unwrap().port();
        let ports = [("client", port(&client)), ("other", port(&other)), ("monitor", port(&monitor))];
        monitor.ok("MONITOR");
        let mut burst = Vec::new();
        for words in [&["SET", "a", "x \"\\\r\n\t\x07\x08\x01"][..], &["get", "a"], &["LPUSH", "a", "1"]] {
            encode(words, &mut burst);
        }
        encode(&[&b"SET"[..], b"", b"\xff\x7f"], &mut burst);
        for words in [&["MGET", "a", "b"][..], &["NOSUCH"], &["INCR", "a"], &["INCR", "n"], &["GET"]] {
            encode(words, &mut burst);
        }
        client.send_raw(&burst).unwrap();
        (0..9).for_each(|_| drop(client.read()));
        for line in
            ["SELECT 5", "SELECT 99", "PING", "CONFIG GET port", "CLIENT LIST", "CLIENT ID", "INFO server"]
        {
            client.run(line);
        }
        for line in
            ["AUTH pw", "AUTH me pw", "AUTH a b c", "HELLO 2 AUTH me pw SETNAME x", "KEYS *", "DBSIZE"]
        {
            client.run(line);
        }
        for line in ["MULTI", "SET m 1", "LPUSH m 1", "SELECT 2", "CONFIG GET port", "GET m", "EXEC"] {
            client.run(line);
        }
        for line in ["MULTI", "SET m 1", "NOSUCH", "EXEC", "MULTI", "SET m 1", "DISCARD", "EXEC", "WATCH m"] {
            client.run(line);
        }
        let script = "redis.call('SET', KEYS[1], 1) redis.pcall('LPUSH', KEYS[1], 1) redis.call('SELECT', 7) \
                      redis.pcall('CONFIG', 'GET', 'port') return redis.call('GET', 'undeclared')";
        client.call(&["EVAL", script, "1", "s"]);
        for words in [&["EVAL", "error(", "0"][..], &["EVAL", "return 1", "x"], &["EVALSHA", "aaaa", "0"]] {
            client.call(words);
        }
        client.call(&["EVAL_RO", "return redis.call('SET', 'a', 1)", "0"]);
        let library = "#!lua name=lib\nredis.register_function('f', function(keys) return redis.call('GET', keys[1]) end)";
        client.call(&["FUNCTION", "LOAD", library]);
        for line in
            ["FCALL f 1 k", "FCALL nosuch 0", "SCRIPT EXISTS x", "MULTI", "FCALL f 1 k", "BLPOP no 0", "EXEC"]
        {
            client.run(line);
        }
        client.run("BLPOP nokey 0.01");
        other.send(&["BLPOP", "l1", "l2", "0"]).unwrap();
        wait_for_blocked(&mut client, 1);
        client.run("RPUSH l2 x");
        client.run("RPUSH l1 x");
        client.run("SELECT 0");
        client.run("RPUSH l2 x");
        other.read();
        for line in ["PUBLISH c hi", "SUBSCRIBE c", "GET k", "UNSUBSCRIBE c", "FLUSHALL", "RESET", "ECHO end"]
        {
            client.run(line);
        }
        lines_seen(&mut monitor, &ports)
    });
}

#[test]
fn a_monitor_can_do_what_it_can_in_redis_and_reset_makes_it_a_client_again() {
    compare(|server| {
        let (mut client, mut monitor) = (server.client(), server.client());
        let mut said = Vec::new();
        said.extend(["MULTI", "MONITOR", "EXEC"].map(|line| monitor.run(line)));
        let Value::Integer(id) = monitor.run("CLIENT ID") else { panic!("no id") };
        monitor.ok("MONITOR");
        // Asked again, it answers nothing.
        monitor.send(&["MONITOR"]).unwrap();
        said.push(monitor.run("CLIENT KILL ID 999999"));
        for line in ["GET k", "SET k v", "PUBLISH c hi", "EVAL 1 0", "NOSUCH", "EXEC"] {
            said.push(monitor.run(line));
        }
        let Value::Bulk(line) = client.run("CLIENT LIST TYPE normal") else { panic!("no list") };
        let line = String::from_utf8_lossy(&line).into_owned();
        let own = line.lines().find(|line| line.starts_with(&format!("id={id} "))).unwrap();
        said.push(Value::Simple(
            own.split(' ').filter(|f| f.starts_with("flags=")).collect::<String>().into(),
        ));
        let Value::Simple(seen) = monitor.read() else { panic!("no line") };
        assert!(seen.ends_with(b"\"EXEC\""), "{}", String::from_utf8_lossy(&seen));
        // A pause does not hold it back.
        client.ok("CLIENT PAUSE 1000000000 WRITE");
        client.ok("CLIENT UNPAUSE");
        said.push(monitor.run("PING"));
        let Value::Simple(seen) = monitor.read() else { panic!("no line") };
        assert!(seen.ends_with(b"\"PING\""));
        said.push(monitor.run("RESET"));
        client.run("PING");
        said.push(monitor.run("GET k"));
        said.push(client.run(&format!("CLIENT LIST ID {id}")));
        let Some(Value::Bulk(line)) = said.pop() else { panic!("no list") };
        assert!(String::from_utf8_lossy(&line).contains(" flags=N "));
        said
    });
}

#[test]
fn a_monitor_that_does_not_read_is_cut() {
    let server = Server::tuff(&[]);
    let (mut client, mut monitor) = (server.client(), server.client());
    assert!(client.call(&["CONFIG", "SET", "client-output-buffer-limit", "normal 4mb 0 0"]).is_ok());
    monitor.ok("MONITOR");
    let long = "x".repeat(100_000);
    let is_watched = |client: &mut Client| {
        let Value::Bulk(list) = client.run("CLIENT LIST") else { panic!("no list") };
        String::from_utf8_lossy(&list).contains(" flags=O ")
    };
    let mut sent = 0;
    while is_watched(&mut client) {
        client.call(&["ECHO", &long]);
        sent += 1;
        assert!(sent < 2_000, "200 MB are waiting for a monitor");
    }
    assert!(sent > 40);
}

#[test]
fn lookups_are_counted_whatever_becomes_of_the_command() {
    let of = |server: &Server, command: &str| {
        let mut client = server.client();
        let figures = |client: &mut Client| {
            ["keyspace_hits", "keyspace_misses"]
                .map(|name| client.figure("stats", name).parse::<u64>().unwrap())
        };
        let before = figures(&mut client);
        for part in command.split(" ; ") {
            client.run(part);
        }
        let after = figures(&mut client);
        [after[0] - before[0], after[1] - before[1]]
    };
    for server in [Server::redis(&[]), Server::tuff(&[])] {
        let mut client = server.client();
        for command in
            ["SET a 1", "SADD s x", "ZADD z 1 x", "RPUSH l a", "XADD x 1-1 f v", "XGROUP CREATE x g 0"]
        {
            client.run(command);
        }
        let commands = [
            ("GET a", [1, 0]),
            ("GETEX a", [1, 0]),
            ("GETDEL no", [0, 1]),
            ("COPY no b", [0, 1]),
            ("SINTERSTORE stored s no", [1, 1]),
            ("ZRANGESTORE stored z 0 -1", [1, 0]),
            ("MULTI ; GET a ; GET no ; EXEC", [1, 1]),
            ("MULTI ; SET b 1 ; GET a ; GET l ; SINTERCARD 2 no l ; EXEC", [3, 1]),
            ("XREAD BLOCK 1 STREAMS no 0", [0, 2]),
            ("XREAD STREAMS x x no 0 $ 0", [4, 2]),
            ("XREADGROUP GROUP g c STREAMS no >", [0, 1]),
            ("XREADGROUP GROUP g c STREAMS x >", [2, 0]),
            ("XREADGROUP GROUP g c BLOCK 1 STREAMS x >", [2, 0]),
            ("XCLAIM x g c 0 1-1", [1, 0]),
            ("XAUTOCLAIM no g c 0 0", [0, 1]),
            ("XACK x g 1-1", [1, 0]),
            ("GET l", [1, 0]),
            ("SINTERCARD 2 no l", [1, 1]),
            ("SET a 2", [0, 0]),
            ("MEMORY USAGE a", [0, 0]),
        ];
        for (command, counted) in commands {
            assert_eq!(of(&server, command), counted, "{command}");
        }
    }
}

#[test]
fn what_stands_behind_a_wait_in_a_pipeline_is_run_after_it() {
    compare(|server| {
        let mut client = server.client();
        let lines = [
            "SET a 1 PX 5",
            "DEBUG SLEEP 0.1",
            "GET a",
            "SET b 1 PX 5",
            "WAIT 1 100",
            "GET b",
            "MULTI",
            "WAIT 1 0",
            "EXEC",
            "PING",
        ];
        let mut bytes = Vec::new();
        lines.iter().for_each(|line| encode(&line.split(' ').collect::<Vec<_>>(), &mut bytes));
        client.send_raw(&bytes).unwrap();
        lines.map(|_| client.read().render())
    });
}

#[test]
fn errors_are_counted_once_by_their_code() {
    compare(|server| {
        let mut client = server.client();
        let mut call = |words: &[&str]| client.call(words);
        call(&["SET", "s", "v"]);
        for script in [
            "return redis.call('LPUSH', 's', 'x')",
            "return redis.pcall('LPUSH', 's', 'x')",
            "redis.pcall('LPUSH', 's', 'x') return redis.error_reply('MINE of my own')",
            "return {err='NOBLANK'}",
            "return {err='-ACODETHATISFARTOOLONGTOBEACODEATALL text'}",
            "return redis.call('NOSUCH')",
            "redis.pcall('NOSUCH') redis.pcall('GET') redis.pcall('SUBSCRIBE', 'c') redis.pcall('CONFIG', 'GET', 'port')",
            "for i = 1, 3000 do redis.pcall('LPUSH', 's', 'x') redis.pcall('GET') redis.call('EXISTS', 's') end",
            "for i = 1, 3000 do redis.pcall('LPUSH', 's', 'x') end return redis.call('LPUSH', 's', 'x')",
        ] {
            call(&["EVAL", script, "0"]);
        }
        call(&["NOSUCH"]);
        call(&["LPUSH", "s", "x"]);
        call(&["EVAL_RO", "return redis.pcall('SET', 'a', 'b')", "0"]);
        let info = client.run("INFO errorstats").text();
        let stats = client.run("INFO commandstats").text();
        let kept = |line: &&str| !line.contains("info:") && !line.contains("eval");
        let counts = |line: &str| {
            let figures = line.trim().split([':', ',']).filter(|figure| !figure.starts_with("usec"));
            figures.collect::<Vec<_>>().join(" ")
        };
        let counted: BTreeSet<String> = stats.lines().filter(kept).map(counts).collect();
        (info, client.figure("stats", "total_error_replies"), counted)
    });
}

#[test]
fn a_client_with_too_much_waiting_is_closed_and_counted() {
    compare(|server| {
        let (mut client, mut slow) = (server.client(), server.client());
        client.ok("CONFIG SET client-query-buffer-limit 1mb");
        slow.send_raw(b"*2\r\n$4\r\nECHO\r\n$4000000\r\n").unwrap();
        // The server may have hung up before all has been said.
        let _ = slow.send_raw(&[b'x'; 3_000_000]);
        let _ = slow.read_to_close();
        client.call(&["CONFIG", "SET", "client-output-buffer-limit", "normal 1 0 0 pubsub 0 20000 1"]);
        client.call(&["SET", "long", &"x".repeat(100_000)]);
        let mut small = server.client();
        // What fits into the first 16 KB is free.
        let pong = small.run("PING");
        small.send(&["GET", "long"]).unwrap();
        let cut = small.read_to_close().is_ok_and(|bytes| bytes.len() < 100_000);
        client.call(&["CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0"]);
        // One that does not read, of whom the soft limit is asked long after the last message.
        let mut silent = server.client();
        silent.run("SUBSCRIBE c");
        let long = "x".repeat(300_000);
        let mut sent = 0;
        let waiting = |client: &mut Client| {
            let list = client.run("CLIENT LIST TYPE pubsub").text();
            let figure = list.split(" omem=").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
            figure.unwrap_or(u64::MAX)
        };
        while waiting(&mut client) < 2_000_000 {
            client.call(&["PUBLISH", "c", &long]);
            sent += 1;
            assert!(sent < 1000, "a client that does not read takes 300 MB");
        }
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while client.run("CLIENT LIST TYPE pubsub").text().contains("id=") {
            assert!(std::time::Instant::now() < limit, "it is still there");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let figures =
            ["client_query_buffer_limit_disconnections", "client_output_buffer_limit_disconnections"];
        (pong, cut, figures.map(|name| client.figure("stats", name)))
    });
}
