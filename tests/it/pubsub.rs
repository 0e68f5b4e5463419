//! Pub/sub under load: many who listen to one channel, one who does not read, and what CLIENT LIST and INFO say of listeners.
//!
//! What each command answers is in `tests/transcripts/pubsub.txt`.

use crate::client::Client;
use crate::server::Server;
use crate::value::Value;

/// More than are served in one slice, so that a carrier brings their messages.
const LISTENERS: usize = 600;

fn listener(server: &Server, channel: &str) -> Client {
    let mut client = server.client();
    let reply = client.run(&format!("SUBSCRIBE {channel}"));
    assert!(matches!(reply, Value::Array(_)), "{}", reply.render());
    client
}

/// The payload of the next message.
fn payload(client: &mut Client) -> String {
    match client.read() {
        Value::Array(items) | Value::Push(items) => items.last().unwrap().text(),
        other => panic!("not a message: {}", other.render()),
    }
}

#[test]
fn many_listeners_of_one_channel_get_every_message_in_one_order() {
    let server = Server::tuff(&[]);
    let mut listeners: Vec<Client> = (0..LISTENERS).map(|_| listener(&server, "news")).collect();
    let told = std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let server = &server;
            scope.spawn(move || {
                let mut publisher = server.client();
                for number in 0..5 {
                    let reply = publisher.run(&format!("PUBLISH news {name}{number}"));
                    assert_eq!(reply.render(), format!(":{LISTENERS}"));
                }
            });
        }
        listeners
            .iter_mut()
            .map(|client| (0..10).map(|_| payload(client)).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    });
    assert!(told.iter().all(|one| *one == told[0]), "two listeners were told different things");
    for name in ["a", "b"] {
        let own: Vec<&String> = told[0].iter().filter(|text| text.starts_with(name)).collect();
        assert_eq!(
            own,
            (0..5).map(|number| format!("{name}{number}")).collect::<Vec<_>>().iter().collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_listener_that_does_not_read_is_cut_and_the_others_are_not() {
    let server = Server::tuff(&["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let mut slow = listener(&server, "news");
    let mut publisher = server.client();
    let payload_bytes = "x".repeat(64 << 10);
    // Its socket's own buffers hold some megabytes before anything waits in the server.
    let mut published = 0;
    while publisher.run(&format!("PUBLISH news {payload_bytes}")).render() == ":1" {
        published += 1;
        assert!(published < 10_000, "the slow one was never cut");
    }
    let mut good = listener(&server, "news");
    assert_eq!(publisher.run("PUBLISH news later").render(), ":1");
    assert_eq!(payload(&mut good), "later");
    let mut read = 0;
    while let Ok(value) = slow.try_read() {
        assert_ne!(value, Value::Closed);
        read += 1;
    }
    assert!(read < published, "it was sent all {published} messages");
}

#[test]
fn a_listener_that_reads_is_not_cut_for_what_it_has_read() {
    let server = Server::tuff(&["--client-output-buffer-limit", "pubsub 4mb 0 0"]);
    let mut good = listener(&server, "news");
    let payload_bytes = "x".repeat(300_000);
    let (read, left) = std::sync::mpsc::sync_channel(6);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // At most seven are on their way.
            let mut publisher = server.client();
            for _ in 0..200 {
                assert_eq!(publisher.run(&format!("PUBLISH news {payload_bytes}")).render(), ":1");
                read.send(()).unwrap();
            }
        });
        for _ in 0..200 {
            left.recv().unwrap();
            assert_eq!(payload(&mut good).len(), payload_bytes.len());
        }
    });
}

/// The value of a field in a line or page of `name=value` or `name:value`.
fn field<'t>(text: &'t str, name: &str) -> &'t str {
    let found = text.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix(['=', ':']));
    found.unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn client_list_and_info_count_what_is_listened_to() {
    for server in [Server::redis(&[]), Server::tuff(&[])] {
        let mut client = server.client();
        client.run("HELLO 3");
        client.run("SUBSCRIBE a");
        client.run("SUBSCRIBE b");
        client.run("PSUBSCRIBE p*");
        client.run("SSUBSCRIBE s");
        let line = client.run("CLIENT INFO").text();
        assert_eq!(["sub", "psub", "ssub", "flags"].map(|name| field(&line, name)), ["2", "1", "1", "P"]);
        let info = client.run("INFO everything").text();
        let names = ["pubsub_channels", "pubsub_patterns", "pubsubshard_channels", "pubsub_clients"];
        assert_eq!(names.map(|name| field(&info, name)), ["2", "1", "1", "1"]);
        client.run("RESET");
        let line = client.run("CLIENT INFO").text();
        assert_eq!(["sub", "psub", "ssub", "flags"].map(|name| field(&line, name)), ["0", "0", "0", "N"]);
    }
}
