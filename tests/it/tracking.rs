//! Client-side caching between connections: redirection, targets that go, and a cache that must end up right however reads and
//! writes fall together. What each command answers is in `tests/transcripts/tracking.txt`.

use crate::client::Client;
use crate::server::{Server, subject_is_oracle};
use crate::value::Value;
use std::sync::atomic::{AtomicBool, Ordering};

fn id_of(client: &mut Client) -> String {
    client.run("CLIENT ID").render()
}

fn number_of(text: &str) -> String {
    text.trim_start_matches(':').to_owned()
}

/// The words of the next message, nested ones in parentheses.
fn told(client: &mut Client) -> String {
    fn words(value: &Value) -> String {
        match value {
            Value::Array(items) => format!("({})", items.iter().map(words).collect::<Vec<_>>().join(" ")),
            Value::Null | Value::NullBulk => "nil".to_owned(),
            value @ Value::Integer(_) => value.render(),
            value => value.text(),
        }
    }
    match client.read() {
        Value::Array(items) | Value::Push(items) => items.iter().map(words).collect::<Vec<_>>().join(" "),
        other => panic!("not a message: {}", other.render()),
    }
}

#[test]
fn messages_go_to_the_client_they_are_redirected_to() {
    for server in [Server::redis(&[]), Server::tuff(&[])] {
        let (mut reader, mut target, mut writer) = (server.client(), server.client(), server.client());
        let id = number_of(&id_of(&mut target));
        reader.ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        assert_eq!(reader.run("CLIENT GETREDIR").render(), format!(":{id}"));
        let line = reader.run("CLIENT INFO").text();
        assert!(line.contains(" flags=t ") && line.contains(&format!(" redir={id} ")), "{line}");
        // Before it listens it is not told.
        reader.run("GET a");
        writer.ok("SET a 1");
        target.run("SUBSCRIBE __redis__:invalidate");
        reader.run("MGET a b");
        writer.ok("MSET b 1 a 2");
        assert_eq!(told(&mut target), "message __redis__:invalidate (b)");
        assert_eq!(told(&mut target), "message __redis__:invalidate (a)");
        reader.run("GET a");
        writer.ok("FLUSHALL");
        assert_eq!(told(&mut target), "message __redis__:invalidate nil");
        // With RESP3 on the other side it is a push.
        let mut modern = server.client();
        modern.run("HELLO 3");
        let id = number_of(&id_of(&mut modern));
        reader.ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        reader.run("GET a");
        writer.ok("SET a 3");
        assert_eq!(told(&mut modern), "invalidate (a)");
    }
}

#[test]
fn a_target_that_has_gone_is_told_of() {
    for server in [Server::redis(&[]), Server::tuff(&[])] {
        let (mut reader, mut target, mut writer) = (server.client(), server.client(), server.client());
        reader.run("HELLO 3");
        let id = number_of(&id_of(&mut target));
        target.run("SUBSCRIBE __redis__:invalidate");
        reader.ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        reader.run("MGET a b");
        target.run("QUIT");
        while writer.run(&format!("CLIENT LIST ID {id}")).text().trim() != "" {}
        // Each time that something would have been told.
        writer.ok("MSET a 1 b 1");
        for _ in 0..2 {
            assert_eq!(told(&mut reader), format!("tracking-redir-broken :{id}"));
        }
        let line = reader.run("CLIENT INFO").text();
        assert!(line.contains(" flags=tR "), "{line}");
        assert!(reader.run("CLIENT TRACKINGINFO").render().contains("broken_redirect"));
    }
}

#[test]
fn info_counts_what_is_tracked() {
    for server in [Server::redis(&[]), Server::tuff(&[])] {
        let (mut one, mut two, mut all) = (server.client(), server.client(), server.client());
        let figures = |client: &mut Client| {
            let names = [
                "tracking_clients",
                "tracking_total_keys",
                "tracking_total_items",
                "tracking_total_prefixes",
            ];
            names.map(|name| client.figure("everything", name)).join(" ")
        };
        assert_eq!(figures(&mut one), "0 0 0 0");
        for client in [&mut one, &mut two] {
            client.run("HELLO 3");
            client.ok("CLIENT TRACKING ON");
            client.run("MGET a b");
        }
        all.ok("CLIENT TRACKING ON BCAST PREFIX x PREFIX y");
        one.run("GET c");
        assert_eq!(figures(&mut all), "3 3 5 2");
        all.ok("SET a 1");
        assert_eq!(figures(&mut all), "3 2 3 2");
        all.ok("CLIENT TRACKING OFF");
        assert_eq!(figures(&mut all), "2 2 3 0");
    }
}

#[test]
fn swapped_databases_leave_nothing_sure() {
    if subject_is_oracle() {
        return;
    }
    let server = Server::tuff(&[]);
    let (mut reader, mut writer) = (server.client(), server.client());
    writer.ok("SET a 1");
    reader.run("HELLO 3");
    reader.ok("CLIENT TRACKING ON");
    assert_eq!(reader.run("GET a").text(), "1");
    writer.ok("SWAPDB 0 1");
    assert_eq!(told(&mut reader), "invalidate nil");
}

/// A client that keeps what it has read until it is told to read it again.
struct Cache {
    client: Client,
    value: Option<String>,
}

impl Cache {
    fn note(&mut self, message: &Value) {
        if matches!(message, Value::Push(_)) {
            self.value = None;
        }
    }

    /// The value, from the cache or the server. What the server says before its reply came before the read.
    fn get(&mut self) -> String {
        if let Some(value) = &self.value {
            return value.clone();
        }
        self.client.send(&["GET", "k"]).unwrap();
        loop {
            match self.client.read() {
                message @ Value::Push(_) => self.note(&message),
                reply => {
                    let value = reply.text();
                    self.value = Some(value.clone());
                    return value;
                }
            }
        }
    }

    /// Reads what was sent so far: it comes before the reply to a PING.
    fn catch_up(&mut self) {
        self.client.send(&["PING"]).unwrap();
        loop {
            match self.client.read() {
                message @ Value::Push(_) => self.note(&message),
                _ => return,
            }
        }
    }
}

#[test]
fn a_cache_is_right_once_the_writing_has_ended() {
    let server = Server::tuff(&["--workers", "2"]);
    server.client().ok("SET k 0");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = server.client();
                    client.run("HELLO 3");
                    client.ok("CLIENT TRACKING ON");
                    let mut cache = Cache { client, value: None };
                    while !over.load(Ordering::Acquire) {
                        cache.get();
                        cache.catch_up();
                    }
                    cache.catch_up();
                    cache.get()
                })
            })
            .collect();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut writer = server.client();
                    for _ in 0..1500 {
                        writer.run("INCR k");
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        over.store(true, Ordering::Release);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), "3000");
        }
    });
}

/// A client of RESP3 that tracks in this way, and one that writes, on both servers.
fn on_both(tracking: &str, story: impl Fn(&mut Client, &mut Client)) {
    for server in [Server::redis(&[]), Server::tuff(&[])] {
        let (mut reader, mut writer) = (server.client(), server.client());
        reader.run("HELLO 3");
        reader.ok(&format!("CLIENT TRACKING ON{tracking}"));
        story(&mut reader, &mut writer);
    }
}

#[test]
fn caching_is_chosen_within_a_transaction_and_used_up_by_what_is_refused() {
    on_both(" OPTIN", |reader, writer| {
        reader.ok("MULTI");
        for queued in ["GET before", "CLIENT CACHING YES", "GET one", "GET two"] {
            reader.run(queued);
        }
        reader.run("EXEC");
        reader.ok("CLIENT CACHING YES");
        reader.run("GET");
        reader.run("GET late");
        for key in ["before", "late", "one", "two"] {
            writer.ok(&format!("SET {key} 1"));
        }
        assert_eq!([told(reader), told(reader)], ["invalidate (one)", "invalidate (two)"]);
        for _ in 0..2 {
            // The second time there is nothing left to remove.
            writer.ok("FLUSHALL");
            assert_eq!(told(reader), "invalidate nil");
        }
    });
}

#[test]
fn what_a_transaction_reads_behind_its_own_tracking_on_is_remembered() {
    for server in [Server::redis(&[]), Server::tuff(&[])] {
        let (mut reader, mut writer) = (server.client(), server.client());
        reader.run("HELLO 3");
        reader.ok("MULTI");
        for queued in [
            "GET before",
            "CLIENT TRACKING ON",
            "GET one",
            "CLIENT GETREDIR",
            "EVAL return{redis.call('GET','two')} 1 two",
        ] {
            reader.run(queued);
        }
        assert_eq!(reader.run("EXEC").items()[3], Value::Integer(0));
        for key in ["before", "one", "two"] {
            writer.ok(&format!("SET {key} 1"));
        }
        assert_eq!([told(&mut reader), told(&mut reader)], ["invalidate (one)", "invalidate (two)"]);
    }
}

#[test]
fn a_key_of_two_databases_is_broadcast_once_and_names_come_in_their_order() {
    on_both(" BCAST", |reader, writer| {
        writer.ok("MSET b 1 c 2 a 3");
        assert_eq!(told(reader), "invalidate (a b c)");
        writer.run("MOVE b 1");
        assert_eq!(told(reader), "invalidate (b)");
    });
}

#[test]
fn broadcasts_of_all_keys_come_on_top_of_a_prefix() {
    on_both(" BCAST PREFIX a", |reader, writer| {
        reader.ok("CLIENT TRACKING ON BCAST");
        reader.ok("CLIENT TRACKING ON BCAST");
        writer.ok("SET q 1");
        assert_eq!(told(reader), "invalidate (q)");
    });
}

#[test]
fn a_lower_limit_of_the_table_holds_soon() {
    on_both("", |reader, writer| {
        for number in 0..1000 {
            reader.run(&format!("GET {number}"));
        }
        writer.ok("CONFIG SET tracking-table-max-keys 1");
        for _ in 0..999 {
            assert!(told(reader).starts_with("invalidate ("));
        }
        assert_eq!(writer.figure("stats", "tracking_total_keys"), "1");
    });
}
