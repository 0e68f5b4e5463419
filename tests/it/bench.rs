//! `tuff bench` against a real server: what it says it sent has arrived.

use crate::server::Server;
use crate::value::Value;
use std::process::{Command, Output};

/// Runs `tuff bench` with these words, templates with spaces last, against `server`.
fn bench(server: &Server, words: &str, templates: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tuff"));
    command.args(["bench", "--json", "--port", &server.port().to_string()]).args(words.split_whitespace());
    for template in templates {
        command.args(["--command", template]);
    }
    command.output().unwrap()
}

/// The number behind `name` in each phase and command of the JSON, in the order in which they stand there.
fn numbers(output: &Output, name: &str) -> Vec<u64> {
    let text = String::from_utf8_lossy(&output.stdout);
    let name = format!("\"{name}\": ");
    let parts = text.split(&name).skip(1);
    parts.map(|part| part.split([',', '}']).next().unwrap().parse().unwrap()).collect()
}

#[test]
fn every_key_is_loaded_once_and_every_request_counted() {
    let server = Server::tuff(&[]);
    let words = "--load --keys 3000 --value-size 10-200 --mix get=80,set=20 -P 16 -n 5000 -c 7 -t 2";
    let output = bench(&server, words, &[]);
    assert!(output.status.success(), "{output:?}");
    let requests = numbers(&output, "requests");
    assert_eq!(requests[..3], [3000, 3000, 5000]);
    assert_eq!(requests[3] + requests[4], 5000);
    assert!(numbers(&output, "nils").iter().chain(&numbers(&output, "errors")).all(|count| *count == 0));
    assert_eq!(server.client().run("DBSIZE"), Value::Integer(3000));
    let Value::Bulk(value) = server.client().run("GET key:000000002999") else { panic!("no value") };
    assert!((10..=200).contains(&value.len()));
}

#[test]
fn an_open_loop_sends_what_its_rate_and_time_ask_for() {
    let server = Server::tuff(&[]);
    let output = bench(&server, "--rate 2000 --seconds 0.5 -c 4", &["INCR counter"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(numbers(&output, "requests"), [1000, 1000]);
    assert_eq!(server.client().run("GET counter"), Value::Bulk(b"1000".to_vec()));
}

#[test]
fn requests_of_many_commands_count_once() {
    let server = Server::tuff(&[]);
    let transaction = "MULTI ; INCR one ; INCR two ; EXEC";
    let output = bench(&server, "-c 5 -P 3 -n 301", &[transaction]);
    assert_eq!(numbers(&output, "requests"), [301, 301]);
    assert_eq!(server.client().run("MGET one two"), Value::Array(vec![Value::Bulk(b"301".to_vec()); 2]));
}

#[test]
fn the_workloads_of_ycsb_run_without_an_error() {
    for records in ["strings", "hashes"] {
        for workload in ["a", "b", "c", "d", "e", "f"] {
            let server = Server::tuff(&[]);
            let words = format!("--load --keys 200 --ycsb {workload} --records {records} -n 400 -c 4 -P 2");
            let output = bench(&server, &words, &[]);
            assert!(output.status.success(), "{words}: {output:?}");
        }
    }
}

#[test]
fn an_error_reply_is_told_and_fails_the_program() {
    let server = Server::tuff(&[]);
    server.client().ok("SET text x");
    let output = bench(&server, "-n 10 -c 2", &["INCR text"]);
    assert!(!output.status.success());
    assert_eq!(numbers(&output, "errors"), [10, 10]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("\"first_error\": \"ERR value is not an integer or out of range\""), "{text}");
}
