//! Scripts that take too long: whom they keep waiting, what those are answered, and how they are ended.

use crate::client::Client;
use crate::server::{Server, subject_is_oracle};
use crate::value::Value;

const OPTIONS: [&str; 2] = ["--busy-reply-threshold", "100"];
const BUSY: &str = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

/// A client whose script never ends.
fn endless(server: &Server, script: &str) -> Client {
    let mut client = server.client();
    client.send(&["EVAL", script, "0"]).unwrap();
    client
}

/// Asks until a script has been in the way for long enough.
fn wait_until_busy(client: &mut Client, command: &str) {
    while client.run(command) != Value::Error(BUSY.into()) {}
}

#[test]
fn a_script_that_has_all_keys_to_itself_makes_others_busy() {
    let stories = [Server::redis(&OPTIONS), Server::tuff(&OPTIONS)].map(|server| {
        let mut client = server.client();
        let _running = endless(&server, "redis.call('FLUSHALL') while true do end");
        wait_until_busy(&mut client, "PING");
        ["GET k", "MULTI", "EXEC", "DISCARD"].map(|line| client.run(line).render())
    });
    assert_eq!(stories[0], stories[1]);
}

#[test]
fn such_a_script_is_killed_and_has_changed_nothing() {
    if subject_is_oracle() {
        return;
    }
    let server = Server::tuff(&OPTIONS);
    let (mut client, mut other) = (server.client(), server.client());
    client.ok("SET k v");
    let mut running = endless(&server, "redis.call('FLUSHALL') while true do end");
    wait_until_busy(&mut client, "PING");
    client.ok("MULTI");
    // It waits at the gate, too, and is not held back once that is open.
    other.send(&["FLUSHALL"]).unwrap();
    client.ok("DISCARD");
    client.ok("SCRIPT KILL");
    assert!(running.read().render().starts_with("-ERR Script killed by user with SCRIPT KILL"));
    other.read();
    assert_eq!(client.run("SCRIPT KILL"), Value::Error("NOTBUSY No scripts in execution right now.".into()));
    client.ok("SET k w");
}

#[test]
fn scripts_that_take_all_turns_make_long_commands_busy_and_no_others() {
    if subject_is_oracle() {
        return;
    }
    let server = Server::tuff(&OPTIONS);
    let mut client = server.client();
    let running: Vec<_> = (0..4).map(|_| endless(&server, "while true do end")).collect();
    wait_until_busy(&mut client, "KEYS *");
    assert_eq!(endless(&server, "while true do end").read(), Value::Error(BUSY.into()));
    assert_eq!(client.run("INCR n"), Value::Integer(1));
    client.ok("SCRIPT KILL");
    for mut running in running {
        assert!(running.read().render().starts_with("-ERR Script killed by user"));
    }
    client.run("KEYS *");
}

#[test]
fn a_stop_does_not_wait_for_a_script() {
    if subject_is_oracle() {
        return;
    }
    let mut server = Server::tuff(&[]);
    let mut client = server.client();
    let _running: Vec<_> = (0..2).map(|_| endless(&server, "while true do end")).collect();
    // A kill finds them as soon as they run off the workers.
    while client.run("SCRIPT KILL") != Value::Simple("OK".into()) {}
    let _running = endless(&server, "while true do end");
    server.terminate();
    assert!(server.wait_for_exit().success());
    assert!(!server.log().contains("still at work"), "{}", server.log());
}

#[test]
fn what_a_script_makes_of_little_has_bounds() {
    if subject_is_oracle() {
        return;
    }
    let server = Server::tuff(&[]);
    let mut client = server.client();
    let doubled = "local t = {'x'} for i = 1, 40 do t = {t, t} end ";
    for script in [
        "return #cjson.encode(t)",
        "t = {'x'} for i = 1, 15 do local u = {} for j = 1, 50 do u[j] = t end t = u end \
                    return #cmsgpack.pack(t)",
    ] {
        let mut running = endless(&server, &format!("{doubled}{script}"));
        // It is at work off the workers by then, and so it can be ended.
        while client.run("SCRIPT KILL") != Value::Simple("OK".into()) {}
        let ended = running.read().render();
        assert!(ended.contains("Script killed") || ended.contains("not enough memory"), "{ended}");
    }
    let long = "x".repeat(1 << 20);
    let mut listener = server.client();
    listener.run("SUBSCRIBE c");
    let script = "for i = 1, 100 do redis.call('PUBLISH', 'c', ARGV[1]) end";
    let refused = client.call(&["EVAL", script, "0", &long]).render();
    assert!(refused.starts_with("-ERR the script publishes too much at once"), "{refused}");
}
