//! The wire: how requests may be cut, what is refused and how, limits on clients, and how a server ends.
//!
//! What is refused, and with which words, is compared with the oracle byte by byte: the same bytes go to both servers, and all
//! that comes back until they are quiet or hang up must be equal.

use crate::client::{Client, encode};
use crate::server::Server;
use crate::value::{Value, quote};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Enough for any answer that comes at all; a test that runs into it fails.
const TIMEOUT_S: u64 = 30;

fn raw(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(TIMEOUT_S))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(TIMEOUT_S))).unwrap();
    stream
}

/// Sends the bytes, says that no more will come, and answers everything that comes back.
fn exchange(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = raw(server);
    // The server may hang up before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    read_all(&mut stream)
}

/// What comes until the server hangs up.
fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut reply = Vec::new();
    let mut chunk = [0; 64 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return reply,
            Ok(n) => reply.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return reply,
            Err(e) => panic!("the server neither answers nor hangs up ({e}) after {}", quote(&reply)),
        }
    }
}

/// A stream of requests of several kinds.
fn mixed_requests() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&["SET", "k", "a\r\nb"], &mut bytes);
    bytes.extend_from_slice(b"PING\r\nECHO \"in line\"\n\r\n");
    encode(&["GET", "k"], &mut bytes);
    bytes.extend_from_slice(b"*0\r\n*-1\r\n");
    encode(&["HSET", "h", "", "v"], &mut bytes);
    encode(&["HGETALL", "h"], &mut bytes);
    encode(&["NOSUCH", "x"], &mut bytes);
    encode(&["DEL", "k", "h"], &mut bytes);
    bytes
}

#[test]
fn a_request_may_be_cut_at_any_byte() {
    let server = Server::tuff(&[]);
    let requests = mixed_requests();
    let whole = exchange(&server, &requests);
    assert_eq!(quote(&whole), quote(&exchange(&Server::redis(&[]), &requests)));
    for at in 1..requests.len() {
        let mut stream = raw(&server);
        stream.write_all(&requests[..at]).unwrap();
        // Another client's turn: most likely the first part has been read by then.
        assert_eq!(server.client().run("PING"), Value::Simple(b"PONG".to_vec()));
        stream.write_all(&requests[at..]).unwrap();
        let mut reply = vec![0; whole.len()];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(quote(&reply), quote(&whole), "cut at byte {at}");
    }
    let mut stream = raw(&server);
    for byte in &requests {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut reply = vec![0; whole.len()];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(quote(&reply), quote(&whole), "byte by byte");
}

#[test]
fn a_hundred_thousand_commands_may_be_in_flight() {
    const COMMANDS: i64 = 100_000;
    let server = Server::tuff(&[]);
    let mut client = server.client();
    let mut sender = client.sender();
    let writer = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for n in 0..COMMANDS {
            match n % 4 {
                0 => encode(&["INCR", "counter"], &mut requests),
                1 => encode(&["SET", &format!("k{}", n % 1000), &n.to_string()], &mut requests),
                2 => encode(&["GET", &format!("k{}", (n - 1) % 1000)], &mut requests),
                _ => requests.extend_from_slice(b"PING\r\n"),
            }
        }
        sender.write_all(&requests).unwrap();
    });
    for n in 0..COMMANDS {
        let expected = match n % 4 {
            0 => Value::Integer(n / 4 + 1),
            1 => Value::Simple(b"OK".to_vec()),
            2 => Value::Bulk((n - 1).to_string().into_bytes()),
            _ => Value::Simple(b"PONG".to_vec()),
        };
        assert_eq!(client.read(), expected, "reply {n}");
    }
    writer.join().unwrap();
}

#[test]
fn a_huge_value_goes_in_and_comes_out() {
    let server = Server::tuff(&[]);
    let mut client = server.client();
    let value: Vec<u8> = (0..20_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert!(client.call(&[b"SET".as_slice(), b"big", &value]).is_ok());
    assert!(client.run("GET big") == Value::Bulk(value.clone()), "the value came back changed");
    assert!(client.call(&[b"HSET".as_slice(), b"h", b"f", &value]) == Value::Integer(1));
    assert!(client.run("HGET h f") == Value::Bulk(value), "the field came back changed");
}

/// Bytes that are not, or only just, requests.
fn odd_requests() -> Vec<Vec<u8>> {
    let list: &[&[u8]] = &[
        b"",
        b"\r\n",
        b"\n",
        b"\r\n\r\nPING\r\n",
        b"PING\n",
        b"  PING  \r\n",
        b"PING\0\r\n",
        b"ping hello\r\n",
        b"SET k 'a b'\r\nGET k\r\n",
        b"SET k \"a\\x00\\n\\\"b\"\r\nGET k\r\n",
        b"SET k 'it\\'s'\r\nGET k\r\n",
        b"SET k \"a\r\n",
        b"SET k 'a\r\nPING\r\n",
        b"SET k \"a\"b\r\nPING\r\n",
        b"SET k 'a'b\r\nPING\r\n",
        b"SET k \"\" \r\nGET k\r\n",
        b"NOSUCH\r\nPING\r\n",
        b"QUIT\r\nPING\r\n",
        b"*0\r\nPING\r\n",
        b"*-1\r\nPING\r\n",
        b"*-5\r\nPING\r\n",
        b"*\r\nPING\r\n",
        b"*abc\r\nPING\r\n",
        b"*1.5\r\nPING\r\n",
        b"*+1\r\n$4\r\nPING\r\n",
        b"* 1\r\n$4\r\nPING\r\n",
        b"*01\r\n$4\r\nPING\r\n",
        b"*2147483647\r\n",
        b"*2147483648\r\n",
        b"*1048577\r\n",
        b"*9223372036854775808\r\n",
        b"*-9223372036854775809\r\n",
        b"*1\r\n+PING\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n*1\r\n",
        b"*1\r\nPING\r\n",
        b"*1\r\n\r\n",
        b"*1\r\n$\r\n\r\n",
        b"*1\r\n$abc\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$-5\r\n",
        b"*1\r\n$+4\r\nPING\r\n",
        b"*1\r\n$ 4\r\nPING\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$9223372036854775808\r\n",
        b"*1\r\n$0\r\n\r\nPING\r\n",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
        b"*1\r\n$5\r\nPING\r\n",
        b"*2\r\n$4\r\nPING\r\n",
        b"*1\n$4\nPING\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$x\r\n",
        b"PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n*x\r\nPING\r\n",
        b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: example\r\n\r\n",
        b"*1\r\n$5\r\nHost:\r\nPING\r\n",
        b"*2\r\n$4\r\nPOST\r\n$1\r\n/\r\nPING\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
        b"%1\r\n+PING\r\n+x\r\n",
        b"~1\r\n$4\r\nPING\r\n",
        b"$4\r\nPING\r\n",
        b"+PING\r\n",
        b"\xff\xfe\xfd\r\n",
        // Errors quote any byte, up to a zero.
        b"NOSUCH \xff\xfe 'a b' \"\\x00x\" \"y\\x00z\"\r\n",
        b"\"NO\\x00SUCH\" a\r\n",
        b"CONFIG \xff\xfe\r\n",
        b"CONFIG \"N\\x00O\" x\r\n",
        b"config \"N\\r\\nO\" x\r\n",
        b"CONFIG GET \xff\r\n",
        b"COMMAND INFO \xff\r\n",
        b"COMMAND DOCS \xff\r\n",
        b"COMMAND GETKEYS \xff\r\n",
        b"HELLO \xff\r\n",
        b"CLIENT SETNAME \xff\r\n",
        b"CLIENT SETINFO lib-name \xff\r\n",
        b"CLIENT KILL \xff\r\n",
        b"CLIENT KILL ID \xff\r\n",
        b"CLIENT KILL TYPE \xff\r\n",
        b"CLIENT KILL USER \"\xff\xfe\\x00z\"\r\n",
        b"CLIENT LIST TYPE \xff\r\n",
        b"CLIENT SETINFO \xff 1\r\n",
        b"HELLO 3 \xff\xfe\r\n",
        b"EXPIRE k 1 \xff\xfe\r\n",
        b"MULTI\r\nEXPIRE k 1 \"\xff\\x00\"\r\nEXEC\r\n",
        b"CONFIG SET \xff 1\r\n",
        b"CONFIG SET maxmemory \xff \xfe 1\r\n",
        b"CONFIG SET bogus 1 \"\xfe\\x00z\" 1\r\n",
        b"CONFIG SET \"b\\x00z\" 1\r\n",
        b"CONFIG SET maxmemory \xff\r\n",
        b"CONFIG SET loglevel \xff\r\n",
        b"SCAN 0 TYPE \xff\r\n",
        b"SET k v \xff\r\n",
        b"MULTI\r\nNOSUCH \xff\r\nEXEC \xff\r\nEXEC\r\n",
        b"MULTI\r\nSET k\r\nEXEC x\r\nSET k 1\r\nGET k\r\nDEL k\r\n",
        b"EXEC\r\nEXEC x\r\nDISCARD x\r\n",
        b"WATCH k\r\nSET k 1\r\nEXEC x\r\nMULTI\r\nPING\r\nEXEC\r\nDEL k\r\n",
    ];
    let mut requests: Vec<Vec<u8>> = list.iter().map(|bytes| bytes.to_vec()).collect();
    let long = vec![b'a'; 70_000];
    requests.push(long.clone());
    requests.push([long.clone(), b"\r\n".to_vec()].concat());
    requests.push([b"*".to_vec(), vec![b'1'; 70_000]].concat());
    requests.push([b"*1\r\n$".to_vec(), vec![b'1'; 70_000]].concat());
    requests.push([b"ECHO ".to_vec(), vec![b'a'; 60_000], b"\r\n".to_vec()].concat());
    requests.push([b"*100000\r\n".to_vec(), b"$1\r\nx\r\n".repeat(100_000)].concat());
    requests
}

/// Sends each request to both servers and compares all that comes back.
fn compare_exchanges(subject: &Server, oracle: &Server, requests: &[Vec<u8>]) {
    let mut wrong = Vec::new();
    for request in requests {
        let (ours, theirs) = (exchange(subject, request), exchange(oracle, request));
        if ours != theirs {
            let mut shown = quote(request);
            shown.truncate(200);
            wrong.push(format!("{shown}\n  answered: {}\n  Redis:    {}", quote(&ours), quote(&theirs)));
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn odd_requests_are_answered_as_redis_does() {
    compare_exchanges(&Server::tuff(&[]), &Server::redis(&[]), &odd_requests());
}

#[test]
fn a_server_with_a_password_answers_as_redis_does() {
    let options = ["--requirepass", "pw"];
    let (subject, oracle) = (Server::tuff(&options), Server::redis(&options));
    // Not here: a wrong AUTH behind a right one in the same pipeline. Redis loses the reply to it, Tuff does not.
    let lines = [
        "PING\r\n",
        "GET k\r\n",
        "NOSUCH\r\n",
        "GET\r\n",
        "AUTH\r\n",
        "AUTH wrong\r\nPING\r\n",
        "AUTH pw\r\nPING\r\n",
        "AUTH default pw\r\nPING\r\n",
        "AUTH default wrong\r\nPING\r\n",
        "AUTH other pw\r\nPING\r\n",
        "AUTH default pw x\r\nPING\r\n",
        "AUTH pw\r\nRESET\r\nPING\r\n",
        "HELLO\r\n",
        "HELLO 3\r\n",
        "HELLO 4\r\n",
        "HELLO 3 SETNAME x\r\n",
        "HELLO 3 AUTH default wrong\r\nPING\r\n",
        "HELLO 9 AUTH default pw\r\nPING\r\n",
        "MULTI\r\n",
        "EXEC\r\n",
        "EXEC x\r\n",
        "DISCARD\r\n",
        "MULTI\r\nAUTH pw\r\nMULTI\r\nPING\r\nEXEC\r\n",
        "COMMAND COUNT\r\n",
        "CLIENT SETNAME x\r\n",
        "CONFIG GET requirepass\r\n",
        "RESET\r\n",
        "QUIT\r\nPING\r\n",
        "AUTH pw\r\nCONFIG GET requirepass\r\n",
        "AUTH pw\r\nCONFIG SET requirepass \"\"\r\nCONFIG SET requirepass pw\r\nPING\r\n",
    ];
    let mut requests: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    // Who has not said the password yet may not make the server wait for much.
    requests.push(b"*11\r\n".to_vec());
    requests.push(b"*10\r\n".to_vec());
    requests.push(b"*1\r\n$16385\r\n".to_vec());
    requests.push(b"*1\r\n$16384\r\n".to_vec());
    compare_exchanges(&subject, &oracle, &requests);

    let mut client = subject.client();
    let hello = client.run("HELLO 3 AUTH default pw SETNAME me");
    assert!(matches!(hello, Value::Map(_)), "{}", hello.render());
    assert_eq!(client.run("CLIENT GETNAME"), Value::Bulk(b"me".to_vec()));
    let wrong = client.run("AUTH wrong");
    let text = b"WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(wrong, Value::Error(text.to_vec()));
    assert_eq!(client.run("PING"), Value::Simple(b"PONG".to_vec()), "it is still let in");
    assert_eq!(subject.client().run("GET k"), Value::Error(b"NOAUTH Authentication required.".to_vec()));
}

#[test]
fn a_client_over_maxclients_is_told_and_closed() {
    let server = Server::tuff(&["--maxclients", "4"]);
    // The client of the start's PING may not be gone yet: until four are in, some may be refused.
    let mut clients = Vec::new();
    for _ in 0..1000 {
        let mut client = server.client();
        if client.run("PING") == Value::Simple(b"PONG".to_vec()) {
            clients.push(client);
        }
        if clients.len() == 4 {
            break;
        }
    }
    assert_eq!(clients.len(), 4);
    let refusal = read_all(&mut raw(&server));
    assert_eq!(quote(&refusal), quote(b"-ERR max number of clients reached\r\n"));
    clients.pop();
    let again = (0..1000).any(|_| server.client().run("PING") == Value::Simple(b"PONG".to_vec()));
    assert!(again, "when one has left, another may come");
    assert!(clients[0].run("INFO stats").text().lines().any(|line| {
        line.strip_prefix("rejected_connections:")
            .is_some_and(|n| n.trim().parse::<u64>().is_ok_and(|n| n > 0))
    }));
}

#[test]
fn an_idle_client_is_closed_and_a_blocked_one_is_not() {
    let server = Server::tuff(&["--timeout", "1"]);
    let mut blocked = server.client();
    blocked.send(&["BLPOP", "q", "0"]).unwrap();
    let mut idle = server.client();
    assert_eq!(idle.run("PING"), Value::Simple(b"PONG".to_vec()));
    assert_eq!(idle.read(), Value::Closed);
    assert_eq!(server.client().run("RPUSH q v"), Value::Integer(1));
    assert!(matches!(blocked.read(), Value::Array(_)));
}

#[test]
fn a_query_over_its_limit_closes_the_client() {
    let server = Server::tuff(&["--client-query-buffer-limit", "1mb"]);
    // One value over the limit, and a transaction whose queued commands are.
    let huge = [b"*2\r\n$4\r\nECHO\r\n$3000000\r\n".to_vec(), vec![b'x'; 3_000_000]].concat();
    let mut queued = b"MULTI\r\n".to_vec();
    (0..30).for_each(|_| encode(&["ECHO", &"x".repeat(100_000)], &mut queued));
    for request in [huge, queued] {
        let mut stream = raw(&server);
        let _ = stream.write_all(&request);
        let reply = read_all(&mut stream);
        assert!(reply.len() < 1000 && !reply.starts_with(b"$"), "{}", quote(&reply));
    }
    assert_eq!(server.client().run("PING"), Value::Simple(b"PONG".to_vec()));
    // A value within the limit passes.
    assert!(server.client().call(&["SET", "k", &"x".repeat(900_000)]).is_ok());
}

#[test]
fn a_timeout_set_later_reaches_clients_that_are_silent_already() {
    let server = Server::tuff(&[]);
    let (mut silent, mut client) = (server.client(), server.client());
    silent.run("PING");
    client.ok("CONFIG SET timeout 1");
    let mut is_closed = || {
        std::thread::sleep(Duration::from_millis(10));
        client.run("CLIENT LIST").text().lines().count() == 1
    };
    assert!((0..3000).any(|_| is_closed()), "it is still connected");
}

#[test]
fn replies_over_their_limit_close_the_client() {
    let server = Server::tuff(&["--client-output-buffer-limit", "normal 1mb 0 0"]);
    let mut client = server.client();
    assert!(client.call(&["SET", "k", &"x".repeat(100_000)]).is_ok());
    let mut greedy = server.client();
    let mut requests = Vec::new();
    (0..1000).for_each(|_| encode(&["GET", "k"], &mut requests));
    let _ = greedy.send_raw(&requests);
    // It does not read until the server has given up on it.
    for _ in 0..3000 {
        let list = client.run("CLIENT LIST").text();
        if list.lines().count() == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let got = greedy.read_to_close().unwrap();
    assert!(got.len() < 100_000_000, "all replies came: the limit did nothing");
    // Who reads gets it all.
    let mut reader = server.client();
    for _ in 0..200 {
        assert!(matches!(reader.run("GET k"), Value::Bulk(value) if value.len() == 100_000));
    }
}

#[test]
fn replies_over_their_soft_limit_for_too_long_close_the_client() {
    let server = Server::tuff(&["--client-output-buffer-limit", "normal 0 1mb 1"]);
    let mut client = server.client();
    assert!(client.call(&["SET", "k", &"x".repeat(32 << 20)]).is_ok());
    let mut greedy = server.client();
    greedy.send(&["GET", "k"]).unwrap();
    let mut is_closed = || {
        std::thread::sleep(Duration::from_millis(10));
        client.run("CLIENT LIST").text().lines().count() == 1
    };
    assert!((0..3000).any(|_| is_closed()), "it is still connected, and does not read");
}

#[test]
fn a_client_that_waits_and_does_not_read_is_fed_and_keeps_nobody_from_its_key() {
    const MESSAGES: usize = 1000;
    let server = Server::tuff(&[]);
    let (mut waiting, mut other) = (server.client(), server.client());
    waiting.run("HELLO 3");
    waiting.run("SUBSCRIBE news");
    waiting.send(&["BLPOP", "queue", "0"]).unwrap();
    let is_waiting = |other: &mut Client| other.figure("clients", "blocked_clients") == "1";
    while !is_waiting(&mut other) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Far more than the sockets hold, and less than its output limit.
    let message = "x".repeat(20_000);
    for _ in 0..MESSAGES {
        assert_eq!(other.call(&["PUBLISH", "news", &message]), Value::Integer(1));
    }
    for (line, reply) in
        [("RPUSH queue first", 1), ("LLEN queue", 0), ("RPUSH queue second", 1), ("LLEN queue", 1)]
    {
        assert_eq!(other.run(line), Value::Integer(reply), "{line}");
    }
    let (mut messages, mut replies) = (0, Vec::new());
    while messages < MESSAGES || replies.is_empty() {
        match waiting.read() {
            Value::Push(_) => messages += 1,
            reply => replies.push(reply.render()),
        }
    }
    assert_eq!((messages, replies), (MESSAGES, vec!["*2\n  \"queue\"\n  \"first\"".to_owned()]));
}

#[test]
fn a_client_that_waits_unread_and_says_no_more_is_fed_nothing() {
    let server = Server::tuff(&[]);
    let (mut waiting, mut other) = (server.client(), server.client());
    waiting.run("HELLO 3");
    waiting.run("SUBSCRIBE news");
    waiting.send(&["BLPOP", "queue", "0"]).unwrap();
    while other.figure("clients", "blocked_clients") != "1" {
        std::thread::sleep(Duration::from_millis(1));
    }
    let message = "x".repeat(20_000);
    for _ in 0..1000 {
        other.call(&["PUBLISH", "news", &message]);
    }
    waiting.sender().shutdown(Shutdown::Write).unwrap();
    while other.figure("clients", "blocked_clients") != "0" {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(other.run("RPUSH queue v"), Value::Integer(1));
    assert_eq!(other.run("LLEN queue"), Value::Integer(1));
}

#[test]
fn what_is_put_aside_for_a_client_that_does_not_read_has_a_bound() {
    const PAIRS: usize = 40;
    let server = Server::tuff(&[]);
    let (mut unread, mut other) = (server.client(), server.client());
    assert!(other.call(&["SET", "big", &"x".repeat(900_000)]).is_ok());
    let mut requests = Vec::new();
    (0..PAIRS).for_each(|_| {
        encode(&["GET", "big"], &mut requests);
        encode(&["BLPOP", "queue", "0"], &mut requests);
    });
    unread.send_raw(&requests).unwrap();
    // It is fed for as long as it waits; with enough put aside it is to read before its next command runs.
    let waits = |other: &mut Client| {
        (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            other.figure("clients", "blocked_clients") == "1"
        })
    };
    let fed = (0..PAIRS)
        .take_while(|_| waits(&mut other) && other.run("RPUSH queue v") == Value::Integer(1))
        .count();
    assert!(fed < PAIRS / 2, "it was fed {fed} times");
}

#[test]
fn a_client_may_send_all_its_requests_before_it_reads_the_first_reply() {
    const REQUESTS: usize = 300_000;
    let server = Server::tuff(&[]);
    assert!(server.client().call(&["SET", "k", &"x".repeat(1_000)]).is_ok());
    // More requests, and more replies, than the sockets of both sides hold.
    let mut stream = raw(&server);
    stream.write_all(&b"GET k\r\n".repeat(REQUESTS)).unwrap();
    let reply = format!("$1000\r\n{}\r\n", "x".repeat(1_000));
    let mut got = vec![0; reply.len()];
    for _ in 0..REQUESTS {
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, reply.as_bytes());
    }
}

#[test]
fn a_password_taken_back_is_wanted_of_nobody() {
    let server = Server::tuff(&["--requirepass", "pw"]);
    let (mut client, mut other) = (server.client(), server.client());
    assert!(matches!(client.run("GET k"), Value::Error(_)));
    other.ok("AUTH pw");
    assert!(other.call(&["CONFIG", "SET", "requirepass", ""]).is_ok());
    assert_eq!(client.run("GET k"), Value::NullBulk);
    other.ok("CONFIG SET requirepass new");
    assert!(matches!(client.run("GET k"), Value::Error(_)));
    assert_eq!(other.run("GET k"), Value::NullBulk);
}

#[test]
fn a_client_that_does_not_read_is_closed_when_its_time_is_up() {
    let server = Server::tuff(&["--timeout", "1"]);
    let mut client = server.client();
    assert!(client.call(&["SET", "big", &"x".repeat(900_000)]).is_ok());
    let mut stuck = server.client();
    // From here on the server knows it.
    stuck.run("PING");
    let mut requests = Vec::new();
    (0..100).for_each(|_| encode(&["GET", "big"], &mut requests));
    stuck.send_raw(&requests).unwrap();
    let others = |client: &mut Client| client.run("CLIENT LIST").text().lines().count() - 1;
    while others(&mut client) > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let got = stuck.read_to_close().unwrap();
    assert!(got.len() < 90_000_000, "all replies came: it was never stuck");
}

/// Fills a server with a little of everything, and answers what it should show afterwards.
fn fill(client: &mut Client) -> Vec<(&'static str, Value)> {
    for n in 0..500 {
        client.ok(&format!("SET k{n} {n}"));
    }
    client.run("HSET h a 1 b 2");
    client.run("RPUSH l x y");
    client.ok("SET e v EXAT 4102444800");
    client.ok("SELECT 3");
    client.ok("SET in3 v");
    client.ok("SELECT 0");
    let asked = ["DBSIZE", "GET k499", "HGETALL h", "LRANGE l 0 -1", "EXPIRETIME e", "EXISTS in3"];
    asked.iter().map(|line| (*line, client.run(line))).collect()
}

fn check_filled(server: &Server, shown: &[(&'static str, Value)]) {
    let mut client = server.client();
    for (line, value) in shown {
        assert_eq!(client.run(line), *value, "{line}");
    }
    client.ok("SELECT 3");
    assert_eq!(client.run("GET in3"), Value::Bulk(b"v".to_vec()));
}

/// Starts a server, ends it in the given way with clients connected, starts it again: the data is kept.
fn ends_cleanly(appendfsync: &str, end: impl Fn(&mut Server)) {
    let mut server = Server::tuff(&["--appendonly", "yes", "--appendfsync", appendfsync]);
    let shown = fill(&mut server.client());
    let mut blocked = server.client();
    blocked.send(&["BLPOP", "q", "0"]).unwrap();
    let mut idle = server.client();
    assert_eq!(idle.run("PING"), Value::Simple(b"PONG".to_vec()));
    end(&mut server);
    let status = server.wait_for_exit();
    assert!(status.success(), "ended with {status}; the log:\n{}", server.log());
    assert_eq!(idle.read(), Value::Closed);
    while !matches!(blocked.read(), Value::Closed) {}
    server.start_again();
    check_filled(&server, &shown);
}

#[test]
fn shutdown_keeps_the_data() {
    for line in ["SHUTDOWN", "SHUTDOWN NOSAVE", "shutdown save now force"] {
        ends_cleanly("everysec", |server| assert_eq!(server.client().run(line), Value::Closed, "{line}"));
    }
}

#[test]
fn a_sigterm_keeps_the_data() {
    for appendfsync in ["everysec", "no", "always"] {
        ends_cleanly(appendfsync, Server::terminate);
    }
}

#[test]
fn a_wrong_shutdown_goes_on() {
    let (subject, oracle) = (Server::tuff(&[]), Server::redis(&[]));
    for line in ["SHUTDOWN NOSUCH", "SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT", "SHUTDOWN ABORT NOW"] {
        assert_eq!(subject.client().run(line), oracle.client().run(line), "{line}");
    }
    let shown = |server: &Server| {
        let mut client = server.client();
        client.run("MULTI");
        [client.run("SHUTDOWN"), client.run("EXEC")]
    };
    assert_eq!(shown(&subject), shown(&oracle));
    assert_eq!(subject.client().run("PING"), Value::Simple(b"PONG".to_vec()));
}

#[test]
fn a_shutdown_that_cannot_save_is_answered_and_goes_on() {
    let server = Server::tuff(&[]);
    std::fs::write(server.data().join("checkpoints"), "in the way").unwrap();
    let mut client = server.client();
    let refused = Value::Error(b"ERR Errors trying to SHUTDOWN. Check logs.".to_vec());
    assert_eq!(client.run("SHUTDOWN SAVE"), refused);
    assert_eq!(client.run("PING"), Value::Simple(b"PONG".to_vec()));
    assert_eq!(client.run("SHUTDOWN SAVE FORCE"), Value::Closed);
}

/// The figures that INFO or CLIENT LIST give for names, on both servers, times left out.
fn figures(server: &Server, lines: &[&str], shown: fn(&mut Client) -> Vec<String>) -> Vec<String> {
    let mut client = server.client();
    for line in lines {
        client.run(line);
    }
    shown(&mut client)
}

#[test]
fn commands_inside_exec_are_counted_as_redis_counts_them() {
    let lines = [
        "CONFIG RESETSTAT",
        "MULTI",
        "SET a 1",
        "GET a",
        "LPUSH a 1",
        "GET a",
        "EXEC",
        "MULTI",
        "SET a 1",
        "DISCARD",
        "MULTI",
        "BLPOP q 0",
        "EXEC",
        "LPUSH a 1",
        "NOSUCH",
        "GET",
    ];
    let shown = |client: &mut Client| {
        let mut all = Vec::new();
        for section in ["commandstats", "errorstats"] {
            let text = client.run(&format!("INFO {section}")).text();
            all.extend(text.lines().filter(|line| line.contains(':')).map(|line| {
                let kept = line.split(',').filter(|part| !part.starts_with("usec"));
                kept.collect::<Vec<_>>().join(",")
            }));
        }
        // Redis counts this one behind its own reset, Tuff before.
        all.retain(|line| !line.contains("resetstat"));
        all.sort();
        let list = client.run("CLIENT LIST").text();
        all.extend(
            list.split(' ').filter(|part| part.starts_with("tot-cmds")).map(|part| part.trim().to_owned()),
        );
        all
    };
    let (subject, oracle) = (Server::tuff(&[]), Server::redis(&[]));
    assert_eq!(figures(&subject, &lines, shown), figures(&oracle, &lines, shown));
}

#[test]
fn a_blocked_client_shows_the_command_it_waits_in() {
    for server in [Server::tuff(&[]), Server::redis(&[])] {
        let (mut waiting, mut client) = (server.client(), server.client());
        waiting.ok("SET k v");
        waiting.send(&["BLPOP", "queue", "0"]).unwrap();
        let limit = std::time::Instant::now() + Duration::from_secs(TIMEOUT_S);
        while !client.run("INFO clients").text().contains("blocked_clients:1") {
            assert!(std::time::Instant::now() < limit, "it never waits");
        }
        let list = client.run("CLIENT LIST").text();
        assert!(list.lines().any(|line| line.contains(" cmd=blpop ")), "{list}");
    }
}

#[test]
fn debug_is_refused_before_it_is_queued_or_the_password_is_asked_for() {
    let requests: Vec<Vec<u8>> = [
        "DEBUG\r\nDEBUG SLEEP 0\r\nAUTH secret\r\nDEBUG HELP\r\nMULTI\r\nDEBUG SLEEP 0\r\nEXEC\r\n",
        "DEBUG SLEEP 0 1\r\nAUTH secret\r\nMULTI\r\nDEBUG\r\nEXEC\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    for mode in ["no", "local"] {
        let options = ["--requirepass", "secret", "--enable-debug-command", mode];
        let requests = if mode == "no" { &requests[..] } else { &requests[1..] };
        compare_exchanges(&Server::tuff(&options), &Server::redis(&options), requests);
    }
}

#[test]
fn the_percentiles_of_info_are_those_that_are_set_and_none_without_tracking() {
    let shown = |client: &mut Client| {
        let text = client.run("INFO latencystats").text();
        let names = |line: &str| {
            line.split(',').map(|part| part.split('=').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        text.lines().filter(|line| line.contains("_usec_get:")).flat_map(names).collect::<Vec<_>>()
    };
    let (subject, oracle) = (Server::tuff(&[]), Server::redis(&[]));
    for (line, count) in [
        ("PING", 3),
        ("CONFIG SET latency-tracking-info-percentiles 99.95", 1),
        ("CONFIG SET latency-tracking no", 0),
    ] {
        let (ours, theirs) =
            (figures(&subject, &["GET k", line], shown), figures(&oracle, &["GET k", line], shown));
        assert_eq!(ours, theirs, "{line}");
        assert_eq!(ours.len(), count, "{ours:?}");
    }
}
