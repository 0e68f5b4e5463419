//! The generator against a fake server on the loopback, whose replies and stalls are known to the letter.

use super::keys::Pattern;
use super::options::Options;
use super::run::{Outcome, phases};
use clap::Parser;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
}

fn options(port: u16, words: &str) -> Options {
    let line = format!("bench --quiet --port {port} {words}");
    CommandLine::parse_from(line.split(' ')).options
}

fn phases_of(words: &str) -> Result<Vec<super::run::Phase>, String> {
    options(1, words).phases()
}

/// Serves `connections` connections, each on a thread; `reply` gets the number of a request on its connection (each request is a
/// PING, so it is over when its last byte is there) and writes what it likes. Returns all requests that came.
fn with_server(
    connections: usize,
    reply: impl Fn(u64, &mut TcpStream) -> std::io::Result<()> + Sync,
    client: impl FnOnce(u16) -> Vec<Outcome>,
) -> (Vec<Outcome>, u64) {
    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        let accepts = scope.spawn(|| {
            let serve = |mut stream: TcpStream| {
                let (mut requests, mut buffer, mut bytes) = (0, [0; 4096], Vec::new());
                loop {
                    match stream.read(&mut buffer) {
                        Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
                        _ => return requests,
                    }
                    while bytes.starts_with(PING) {
                        bytes.drain(..PING.len());
                        requests += 1;
                        if reply(requests, &mut stream).is_err() {
                            return requests;
                        }
                    }
                }
            };
            std::thread::scope(|threads| {
                let serving: Vec<_> = (0..connections)
                    .map(|_| {
                        let (stream, _) = listener.accept().unwrap();
                        threads.spawn(move || serve(stream))
                    })
                    .collect();
                serving.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
            })
        });
        let outcomes = client(port);
        (outcomes, accepts.join().unwrap())
    })
}

fn pong(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"+PONG\r\n")
}

#[test]
fn a_closed_loop_sends_exactly_what_was_asked_for() {
    for (words, connections) in
        [("-c 1 -P 1 -n 100", 1), ("-c 3 -t 2 -P 16 -n 1001", 3), ("-c 4 -t 9 -n 2", 4)]
    {
        let run = |port| phases(&options(port, &format!("--mix ping {words}"))).unwrap();
        let (outcomes, requests) = with_server(connections, |_, stream| pong(stream), run);
        let expected = words.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        assert_eq!(requests, expected, "{words}");
        assert_eq!(outcomes[0].tally.commands[0].latency.len(), expected, "{words}");
        assert_eq!(outcomes[0].tally.failures(), 0, "{words}");
    }
}

#[test]
fn replies_that_come_byte_by_byte_are_counted() {
    let drip = |_, stream: &mut TcpStream| {
        stream.set_nodelay(true)?;
        b"*2\r\n$-1\r\n-ERR x\r\n".iter().try_for_each(|byte| stream.write_all(&[*byte]))
    };
    let (outcomes, _) =
        with_server(1, drip, |port| phases(&options(port, "--mix ping -c 1 -P 3 -n 30")).unwrap());
    let command = &outcomes[0].tally.commands[0];
    assert_eq!((command.latency.len(), command.errors, command.nils), (30, 30, 0));
    assert_eq!(outcomes[0].tally.first_error, "ERR x");
}

#[test]
fn a_stalled_server_shows_in_the_open_loop() {
    const STALL: Duration = Duration::from_millis(100);
    let stall_once = |number, stream: &mut TcpStream| {
        if number == 100 {
            let end = Instant::now() + STALL;
            while let Some(left) = end.checked_duration_since(Instant::now()) {
                std::thread::sleep(left);
            }
        }
        pong(stream)
    };
    // 2,000 requests, due 0.2 ms apart. While the server stalls 500 of them come due.
    let run = |port| phases(&options(port, "--mix ping -c 1 -n 2000 --rate 5000")).unwrap();
    let (outcomes, requests) = with_server(1, stall_once, run);
    let latency = &outcomes[0].tally.commands[0].latency;
    assert_eq!((requests, latency.len()), (2000, 2000));
    // However slow this machine is, those due in the first half of the stall have waited for the second half at least.
    let late = latency.len() - latency.count_between(0, STALL.as_nanos() as u64 / 2 - 1);
    assert!(late >= 245, "{late} requests show the stall");
    assert!(latency.value_at_quantile(0.999) >= 90_000_000);
}

#[test]
fn a_server_that_hangs_up_is_a_lost_connection() {
    let leave = |number, stream: &mut TcpStream| {
        if number == 5 { Err(std::io::ErrorKind::Other.into()) } else { pong(stream) }
    };
    let run = |port| phases(&options(port, "--mix ping -c 2 -P 2 -n 1000")).unwrap();
    let (outcomes, _) = with_server(2, leave, run);
    let tally = &outcomes[0].tally;
    assert_eq!((tally.lost_connections, tally.unanswered), (2, 4));
    assert_eq!(tally.commands[0].latency.len(), 12, "8 answered, 4 not");
    assert!(!tally.first_error.is_empty());
}

#[test]
fn patience_ends() {
    let silent = |_, _: &mut TcpStream| Ok(());
    for rate in ["", " --rate 1000"] {
        let words = format!("--mix ping -c 2 -n 10 --patience 0.05{rate}");
        let (outcomes, _) = with_server(2, silent, |port| phases(&options(port, &words)).unwrap());
        let tally = &outcomes[0].tally;
        assert_eq!(tally.lost_connections, 0);
        // A closed loop had asked once on each connection; in the open loop all ten were due.
        assert_eq!(tally.unanswered, if rate.is_empty() { 2 } else { 10 });
        assert_eq!(tally.first_error, "no answer in time");
    }
}

#[test]
fn phases_follow_the_options() {
    let names = |words: &str| phases_of(words).unwrap().iter().map(|phase| phase.name).collect::<Vec<_>>();
    assert_eq!(names("-n 1"), ["run"]);
    assert_eq!(names("--load"), ["load"]);
    assert_eq!(names("--load --ycsb a"), ["load", "run"]);
    let load = &phases_of("--load --keys 77 --pattern zipf --rate 5 --seconds 3").unwrap()[0];
    assert_eq!((load.requests, load.rate, load.until_ns), (Some(77), None, None));
    assert_eq!(load.pattern, Pattern::Sequential);
    let run = &phases_of("--rate 1000 --seconds 2.5 --ycsb D").unwrap()[0];
    assert_eq!((run.requests, run.until_ns), (Some(2500), Some(2_500_000_000)));
    assert_eq!(run.pattern, Pattern::Latest { theta: 0.99 });
    assert_eq!(phases_of("--seconds 1").unwrap()[0].requests, None);
    for wrong in ["--rate 0", "--seconds 0", "--rate inf", "--mix nonsense", "--theta 11", "--patience NaN"] {
        assert!(phases_of(wrong).is_err(), "{wrong}");
    }
}
