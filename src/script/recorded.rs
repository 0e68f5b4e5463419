//! Hundreds of small scripts, compared with what Redis answers to them.
//!
//! recorded.txt holds them with Redis' replies in RESP2 and RESP3, errors with the script's SHA-1 and line included. To add
//! one, write it there behind `> ` and let tools/scripts/record.py ask a Redis.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::resp::{Proto, Reply};
use crate::script::{Engine, Host, LogLevel, Script, Stop};

const RECORDED: &str = include_str!("recorded.txt");
const BYTES_MAX: usize = 256 << 20;

/// A host that knows the few commands the scripts use.
#[derive(Default)]
struct FewCommands {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Host for FewCommands {
    fn call(&mut self, words: &[&[u8]], proto: Proto, out: &mut Vec<u8>) -> Result<(), Stop> {
        let mut reply = Reply::new(out, proto);
        let name = words[0].to_ascii_lowercase();
        match (name.as_slice(), &words[1..]) {
            (b"ping", []) => reply.simple("PONG"),
            (b"echo", [text]) => reply.bulk(text),
            (b"get", [key]) => match self.keys.get(*key) {
                Some(value) => reply.bulk(value),
                None => reply.null(),
            },
            (b"set", [key, value]) => {
                self.keys.insert(key.to_vec(), value.to_vec());
                reply.ok();
            }
            (b"incr", [_]) => reply.integer(1),
            (b"ping" | b"echo" | b"get" | b"set" | b"incr", _) => {
                reply.error("ERR Wrong number of args calling Redis command from script");
            }
            _ => reply.error("ERR Unknown Redis command called from script"),
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Stop> {
        Ok(())
    }

    fn seed(&mut self) -> u64 {
        0
    }

    fn may_run(&mut self, _: &[&[u8]]) -> Option<bool> {
        None
    }

    fn log(&mut self, _: LogLevel, _: &[u8]) {}
}

/// What the engine answers, escaped as in the file.
fn answer(engine: &mut Engine, text: &str, proto: Proto) -> String {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, proto);
    match Script::parse(text.as_bytes()) {
        Ok(script) => {
            let keys: [&[u8]; 2] = [b"key1", b"key2"];
            let args: [&[u8]; 3] = [b"arg1", b"2", b""];
            engine.run(&script, &keys, &args, &mut FewCommands::default(), &mut reply);
        }
        Err(error) => reply.error_bytes(&error),
    }
    out.escape_ascii().to_string()
}

#[test]
fn scripts_answer_as_in_redis() {
    let mut engine = Engine::new(BYTES_MAX);
    let mut wrong = String::new();
    let mut lines = RECORDED.lines().filter(|line| !line.starts_with('#')).peekable();
    let mut count = 0;
    while let Some(script) = lines.next() {
        let text = script.strip_prefix("> ").unwrap().replace("\\n\\", "\n");
        let resp2 = lines.next().unwrap();
        let resp3 = lines.next_if(|line| line.starts_with("3: ")).map_or(resp2, |line| &line[3..]);
        for (proto, expected) in [(Proto::Resp2, resp2), (Proto::Resp3, resp3)] {
            let answer = answer(&mut engine, &text, proto);
            if answer != expected {
                writeln!(wrong, "{script}\n  redis: {expected}\n  ours:  {answer}").unwrap();
            }
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(count > 700, "{count}");
}
