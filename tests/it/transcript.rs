//! Transcripts: what a client says and what a real Redis answers, in `tests/transcripts/*.txt`, through one check.
//!
//! ```text
//! # a comment
//! > HSET h a 1
//! :1
//! [conn 2] [sorted] > HKEYS h
//! *1
//!   "a"
//! ```
//! A command line is `> words` (redis-cli's quoting); the lines under it are the reply in the form of `value.rs`. Marks in
//! brackets stand before the `>`:
//! `[packed]` holds only while small collections are packed: with packing off `[packed] [pairs]` and `[packed] [sorted]` leave
//! the order free (and only then), and `[packed]` alone compares nothing;
//! `[conn N]` says it on another connection (1 without the mark); `[sorted]` the order of the items is free; `[pairs]` as
//! `[sorted]` for flat field-value replies; `[near N]` integers may be off by N; `[pattern]` the reply's text is a glob;
//! `[until]` the command is repeated until the reply is as written; `[silent]` there is no reply; `[blocks]` the client
//! blocks: the next line waits until the server says so in INFO, and `[conn N] <` reads the reply later. `[conn N] x` hangs up.
//!
//! `TUFF_RECORD=1` writes the replies of the oracle into the files; `TUFF_TRANSCRIPT=name` runs one file only. Every
//! transcript is replayed on the oracle (it is true), and on Tuff hot, cold (`DEBUG CHILL` before every command empties hot
//! tier, memtables and block cache) and with packing off.

use crate::client::Client;
use crate::server::{Program, Server, subject_is_oracle};
use crate::value::{Value, glob, parse_text, split_words};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a state may take to come (`[until]`, `[blocks]`).
const STATE_TIMEOUT_S: u64 = 10;
/// After this many wrong replies in one file the rest is not run.
const MISMATCHES_MAX: usize = 25;

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Say(Vec<Vec<u8>>),
    Read,
    HangUp,
}

#[derive(Clone, Debug, Default)]
struct Marks {
    connection: u32,
    sorted: bool,
    pairs: bool,
    packed: bool,
    near: i64,
    pattern: bool,
    until: bool,
    silent: bool,
    blocks: bool,
}

#[derive(Clone, Debug)]
struct Step {
    line_number: usize,
    line: String,
    marks: Marks,
    action: Action,
    expected: Vec<String>,
}

#[derive(Clone, Debug)]
enum Item {
    Text(String),
    Step(Step),
}

fn parse(text: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut open = false;
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line == "#" || line.starts_with("# ") {
            open = false;
            items.push(Item::Text(line.to_string()));
        } else if let Some(step) = parse_step(line, i + 1)? {
            open = true;
            items.push(Item::Step(step));
        } else {
            match items.last_mut() {
                Some(Item::Step(step)) if open => step.expected.push(line.to_string()),
                _ => return Err(format!("line {}: a reply without a command: {line}", i + 1)),
            }
        }
    }
    Ok(items)
}

/// A command line, or nothing when the line is one of a reply.
fn parse_step(line: &str, line_number: usize) -> Result<Option<Step>, String> {
    let mut marks = Marks { connection: 1, ..Marks::default() };
    let mut rest = line;
    while let Some((mark, after)) = rest.strip_prefix('[').and_then(|r| r.split_once("] ")) {
        let (name, number) = mark.split_once(' ').unwrap_or((mark, "0"));
        let number: i64 = number.parse().map_err(|_| format!("line {line_number}: bad mark [{mark}]"))?;
        match name {
            "conn" => marks.connection = number as u32,
            "sorted" => marks.sorted = true,
            "pairs" => marks.pairs = true,
            "packed" => marks.packed = true,
            "near" => marks.near = number,
            "pattern" => marks.pattern = true,
            "until" => marks.until = true,
            "silent" => marks.silent = true,
            "blocks" => marks.blocks = true,
            _ => return Err(format!("line {line_number}: unknown mark [{mark}]")),
        }
        rest = after;
    }
    let action = match rest {
        "<" => Action::Read,
        "x" => Action::HangUp,
        _ => match rest.strip_prefix("> ") {
            Some(words) => Action::Say(split_words(words).map_err(|e| format!("line {line_number}: {e}"))?),
            None if rest.len() == line.len() => return Ok(None),
            None => return Err(format!("line {line_number}: marks without a command: {line}")),
        },
    };
    Ok(Some(Step { line_number, line: line.to_string(), marks, action, expected: Vec::new() }))
}

/// How Tuff runs while a transcript is played.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// Everything in memory is given up before every command.
    chills: bool,
    /// Small collections are spread, too.
    unpacked: bool,
}

/// Whether `actual` is the reply that is written, as far as the marks ask.
fn matches(step: &Step, actual: &Value, way: Way) -> bool {
    let has_free_order = step.marks.sorted || step.marks.pairs;
    if step.marks.packed && way.unpacked && !has_free_order {
        return true;
    }
    let is_order_free = has_free_order && (way.unpacked || !step.marks.packed);
    let expected = step.expected.join("\n");
    if step.marks.pattern {
        return glob(expected.as_bytes(), actual.render().as_bytes());
    }
    let Ok(expected) = parse_text(&expected) else { return false };
    let order = |value: Value| match &step.marks {
        _ if !is_order_free => value,
        marks if marks.pairs => value.sorted_pairs(),
        marks if marks.sorted => value.sorted(),
        _ => value,
    };
    order(expected).is_near(&order(actual.clone()), step.marks.near)
}

/// One server's part in a transcript: its connections by number, and one of our own for looking at its state.
struct Stage<'a> {
    server: &'a Server,
    clients: BTreeMap<u32, Client>,
    admin: Client,
    way: Way,
}

impl<'a> Stage<'a> {
    fn new(server: &'a Server, way: Way) -> Stage<'a> {
        let mut admin = server.client();
        admin.ok("FLUSHALL");
        Stage { server, clients: BTreeMap::new(), admin, way }
    }

    fn client(&mut self, number: u32) -> &mut Client {
        self.clients.entry(number).or_insert_with(|| self.server.client())
    }

    /// One number out of `INFO clients`.
    fn info(&mut self, name: &str) -> i64 {
        let text = self.admin.run("INFO clients").text();
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':').map(str::to_string));
        line.unwrap_or_else(|| panic!("INFO clients has no {name}")).trim().parse().unwrap()
    }

    fn wait_for(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        let limit = Instant::now() + Duration::from_secs(STATE_TIMEOUT_S);
        while !is_so(self) {
            if Instant::now() > limit {
                return Err(format!("within {STATE_TIMEOUT_S} s it did not come that {what}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Plays one step; the reply, or nothing when the step has none.
    fn play(&mut self, step: &Step) -> Result<Option<Value>, String> {
        if self.way.chills {
            self.admin.ok("DEBUG CHILL");
        }
        let number = step.marks.connection;
        let words = match &step.action {
            Action::Read => return Ok(Some(self.client(number).read())),
            Action::HangUp => {
                let before = self.info("connected_clients");
                self.clients.remove(&number);
                self.wait_for("the connection is gone", |s| s.info("connected_clients") < before)?;
                return Ok(None);
            }
            Action::Say(words) => words,
        };
        if step.marks.blocks {
            let before = self.info("blocked_clients");
            self.client(number).send(words).map_err(|e| e.to_string())?;
            self.wait_for("the client blocks", |s| s.info("blocked_clients") > before)?;
            return Ok(None);
        }
        if step.marks.silent {
            self.client(number).send(words).map_err(|e| e.to_string())?;
            return Ok(None);
        }
        if step.marks.until {
            let mut last = Value::Closed;
            let came = self.wait_for("the reply is as written", |s| {
                last = s.client(number).call(words);
                matches(step, &last, s.way)
            });
            return came
                .map(|()| Some(last.clone()))
                .map_err(|e| format!("{e}; the last reply: {}", last.render()));
        }
        Ok(Some(self.client(number).call(words)))
    }
}

/// **The check**: plays a transcript on a server and answers what was wrong, in words.
fn check(name: &str, text: &str, server: &Server, way: Way) -> Vec<String> {
    let items = match parse(text) {
        Ok(items) => items,
        Err(e) => return vec![format!("{name}: {e}")],
    };
    let mut stage = Stage::new(server, way);
    let mut wrong = Vec::new();
    for item in &items {
        let Item::Step(step) = item else { continue };
        let place = format!("{name}:{}: {}", step.line_number, step.line);
        match stage.play(step) {
            Err(e) => {
                wrong.push(format!("{place}\n  {e}"));
                break;
            }
            Ok(None) if step.expected.is_empty() => {}
            Ok(None) => wrong.push(format!("{place}\n  has no reply, but one is written")),
            Ok(Some(actual)) if matches(step, &actual, way) => {}
            Ok(Some(actual)) => {
                let expected = indent(&step.expected.join("\n"));
                wrong.push(format!(
                    "{place}\n  expected:\n{expected}\n  answered:\n{}",
                    indent(&actual.render())
                ));
            }
        }
        if wrong.len() == MISMATCHES_MAX {
            wrong.push(format!("{name}: and the rest was not run"));
            break;
        }
    }
    wrong
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// The transcript with the server's replies written in. Replies that already match under their marks stay as they are.
fn record(name: &str, text: &str, server: &Server) -> String {
    let items = parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut stage = Stage::new(server, Way::default());
    let mut out = String::new();
    for item in &items {
        let step = match item {
            Item::Text(line) => {
                out.push_str(line);
                out.push('\n');
                continue;
            }
            Item::Step(step) => step,
        };
        let place = format!("{name}:{}: {}", step.line_number, step.line);
        let reply = stage.play(step).unwrap_or_else(|e| panic!("{place}\n  {e}"));
        let _ = writeln!(out, "{}", step.line);
        let Some(reply) = reply else { continue };
        if matches(step, &reply, Way::default()) {
            out.push_str(&step.expected.iter().map(|l| format!("{l}\n")).collect::<String>());
        } else if step.marks.pattern && !step.expected.is_empty() {
            panic!("{place}\n  the reply is not like its pattern:\n{}", indent(&reply.render()));
        } else {
            let _ = writeln!(out, "{}", reply.render());
        }
    }
    out
}

/// The transcripts by name, all or the one that `TUFF_TRANSCRIPT` names.
fn transcripts() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let only = std::env::var("TUFF_TRANSCRIPT").ok();
    let mut found: Vec<(String, PathBuf)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path))
        .filter(|(name, _)| only.as_ref().is_none_or(|only| only == name))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "there is no such transcript");
    found
}

/// Plays all transcripts on one server; fails with every wrong reply of every file.
fn check_all(server: &Server, way: Way) {
    let mut wrong = Vec::new();
    for (name, path) in transcripts() {
        let text = fs::read_to_string(&path).unwrap();
        let found =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&name, &text, server, way)));
        wrong.extend(found.unwrap_or_else(|_| vec![format!("{name}: the play broke off (see above)")]));
    }
    assert!(
        wrong.is_empty(),
        "{} wrong replies on {:?}:\n{}",
        wrong.len(),
        server.program(),
        wrong.join("\n")
    );
}

#[test]
fn transcripts_are_true_of_a_real_redis() {
    let server = Server::redis(&["--enable-debug-command", "yes"]);
    if std::env::var("TUFF_RECORD").is_ok_and(|v| v == "1") {
        for (name, path) in transcripts() {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, record(&name, &text, &server)).unwrap();
        }
    }
    check_all(&server, Way::default());
}

#[test]
fn transcripts_hold_hot() {
    check_all(&Server::tuff(&["--enable-debug-command", "yes"]), Way::default());
}

#[test]
fn transcripts_hold_cold() {
    let server = Server::tuff(&["--enable-debug-command", "yes"]);
    let way = Way { chills: server.program() == Program::Tuff, ..Way::default() };
    check_all(&server, way);
}

#[test]
fn transcripts_hold_with_packing_off() {
    let mut options = vec!["--enable-debug-command", "yes"];
    if !subject_is_oracle() {
        options.extend(["--packing", "no"]);
    }
    let way = Way { unpacked: !subject_is_oracle(), ..Way::default() };
    check_all(&Server::tuff(&options), way);
}

#[test]
fn a_wrong_reply_is_seen() {
    let server = Server::redis(&[]);
    let way = Way::default();
    assert!(
        check("t", "> SET k v\n+OK\n[near 1] > STRLEN k\n:2\n[sorted] > KEYS *\n*1\n  \"k\"\n", &server, way)
            .is_empty()
    );
    assert_eq!(check("t", "> SET k v\n+NO\n\n# and\n> GET k\n\"w\"\n", &server, way).len(), 2);
    assert_eq!(check("t", "> PING\n[silent] > PING\n", &server, way).len(), 1);
    assert_eq!(
        check("t", "[pattern] > ECHO ab\n\"a?\"\n[pattern] > ECHO ab\n\"a\"\n", &server, way).len(),
        1
    );
    assert!(check("t", "[mark] > PING\n", &server, way)[0].contains("unknown mark"));
    // What `[packed]` lets through, and what not.
    let unpacked = Way { unpacked: true, ..way };
    let text = "> HSET h b 1 a 2\n:2\n[packed] [sorted] > HKEYS h\n*2\n  \"a\"\n  \"b\"\n";
    assert_eq!((check("t", text, &server, way).len(), check("t", text, &server, unpacked).len()), (1, 0));
    let text = "[packed] > PING\n+PANG\n";
    assert_eq!((check("t", text, &server, way).len(), check("t", text, &server, unpacked).len()), (1, 0));
}
