//! Functions through the whole engine, with a host that ticks and logs.

use crate::resp::{Proto, Reply};
use crate::script::{Callee, Functions, Host, LoadError, LogLevel, Outcome, Stop};

const BYTES_MAX: usize = 64 << 20;

/// A host whose one command answers its number of words.
#[derive(Default)]
struct Counter {
    /// Every tick from this one on is answered so.
    stop_at_tick: Option<(u64, Stop)>,
    ticks: u64,
    log: Vec<Vec<u8>>,
}

impl Host for Counter {
    fn call(&mut self, words: &[&[u8]], proto: Proto, out: &mut Vec<u8>) -> Result<(), Stop> {
        Reply::new(out, proto).integer(words.len() as i64);
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Stop> {
        self.ticks += 1;
        match self.stop_at_tick {
            Some((at, stop)) if self.ticks >= at => Err(stop),
            _ => Ok(()),
        }
    }

    fn may_run(&mut self, _: &[&[u8]]) -> Option<bool> {
        None
    }

    fn seed(&mut self) -> u64 {
        0
    }

    fn log(&mut self, _: LogLevel, text: &[u8]) {
        self.log.push(text.to_vec());
    }
}

fn call(engine: &mut Functions, host: &mut Counter, id: u64, body: &str, name: &str) -> (Outcome, String) {
    let mut out = Vec::new();
    let code = format!("#!lua name=lib\n{body}");
    let callee = Callee { loading: id, code: code.as_bytes(), name: name.as_bytes() };
    let words: (&[&[u8]], &[&[u8]]) = (&[b"key"], &[b"arg", b"2"]);
    let reply = &mut Reply::new(&mut out, Proto::Resp2);
    let outcome = engine.call(&callee, words, &|other| other == id, host, reply);
    (outcome, String::from_utf8_lossy(&out).replace("\r\n", "|"))
}

/// What the function `f` of this library answers.
fn run(body: &str) -> String {
    call(&mut Functions::new(BYTES_MAX), &mut Counter::default(), 1, body, "f").1
}

fn check(body: &str) -> Result<Vec<String>, String> {
    let ended = Functions::new(BYTES_MAX).check(body.as_bytes(), &mut Counter::default());
    ended.map(|all| all.iter().map(|new| String::from_utf8_lossy(&new.name).into_owned()).collect()).map_err(
        |error| match error {
            LoadError::Refused(text) => String::from_utf8_lossy(&text).into_owned(),
            LoadError::Stopped(stop) => format!("{stop:?}"),
        },
    )
}

#[test]
fn a_function_gets_its_keys_and_arguments() {
    let body = "redis.register_function('f', function(keys, args) return {keys[1], #args, args[2]} end)";
    assert_eq!(run(body), "*3|$3|key|:2|$1|2|");
    let body = "local r = redis redis.register_function('f', function() return redis.call('A', 'b') end)";
    assert_eq!(run(body), ":2|");
}

#[test]
fn a_library_registers_in_its_order_and_keeps_nothing_when_it_fails() {
    let two = "redis.register_function('b', redis.log) redis.register_function{callback=redis.log, function_name='a'}";
    assert_eq!(check(two), Ok(vec!["b".to_owned(), "a".to_owned()]));
    assert_eq!(check("return 1"), Err("ERR No functions registered".to_owned()));
    let mut engine = Functions::new(BYTES_MAX);
    let mut used = 0;
    for round in 0..2000 {
        let body = format!("redis.register_function('f', function() return '{round}' end) redis.nothing()");
        assert!(engine.check(body.as_bytes(), &mut Counter::default()).is_err());
        if round == 100 {
            used = engine.used_bytes();
        }
    }
    assert!(engine.used_bytes() < used + (64 << 10), "{used} {}", engine.used_bytes());
}

#[test]
fn a_library_sees_nothing_but_redis_while_it_is_loaded_and_all_after() {
    for body in ["math.floor(1)", "_G.x = 1", "x = 1", "redis.x = 1", "redis.call('A')", "pcall(1)"] {
        assert!(
            check(body).unwrap_err().starts_with("ERR Error registering functions: ERR user_function:1: ")
        );
    }
    let body = "redis.register_function('f', function() return math.floor(2.5) + #redis.sha1hex('') end)";
    assert_eq!(run(body), ":42|");
    let mut engine = Functions::new(BYTES_MAX);
    assert!(engine.check(b"\nredis.register_function('f', nothing)", &mut Counter::default()).is_err());
    // A failed load leaves the environment of functions behind.
    assert_eq!(call(&mut engine, &mut Counter::default(), 1, body, "f").1, ":42|");
}

#[test]
fn a_library_is_loaded_once_for_each_id_and_keeps_its_variables_so_long() {
    let mut engine = Functions::new(BYTES_MAX);
    let mut host = Counter::default();
    let body = "redis.log(redis.LOG_NOTICE, 'loading') local n = 0 \
                redis.register_function('f', function() n = n + 1 return n end)";
    let mut say = |id: u64| call(&mut engine, &mut host, id, body, "f").1;
    assert_eq!([say(1), say(1), say(2), say(2), say(1)], [":1|", ":2|", ":1|", ":2|", ":1|"]);
    assert!(host.log.is_empty(), "it was logged when the library was new");
    let mut host = Counter::default();
    engine.check(body.as_bytes(), &mut host).unwrap();
    assert_eq!(host.log, [b"loading".to_vec()]);
}

#[test]
fn a_function_that_is_not_in_its_library_is_not_found() {
    let body = "redis.register_function('f', redis.log)";
    let mut engine = Functions::new(BYTES_MAX);
    for _ in 0..2 {
        let answer = call(&mut engine, &mut Counter::default(), 1, body, "g").1;
        assert_eq!(answer, "-ERR Function not found|");
    }
}

#[test]
fn a_loading_without_end_is_ended_by_its_host() {
    for body in ["while true do end", "local function f() return f() end f()"] {
        for stop in [Stop::Again, Stop::Kill] {
            let mut host = Counter { stop_at_tick: Some((3, stop)), ..Counter::default() };
            let mut engine = Functions::new(BYTES_MAX);
            assert_eq!(engine.check(body.as_bytes(), &mut host), Err(LoadError::Stopped(stop)));
            let good = "redis.register_function('f', function() return 1 end)";
            assert_eq!(call(&mut engine, &mut Counter::default(), 2, good, "f").1, ":1|");
        }
    }
}

#[test]
fn a_function_without_end_is_ended_by_its_host() {
    let body = "redis.register_function('f', function() while true do end end)";
    let mut engine = Functions::new(BYTES_MAX);
    let mut host = Counter { stop_at_tick: Some((3, Stop::Again)), ..Counter::default() };
    assert_eq!(call(&mut engine, &mut host, 1, body, "f"), (Outcome::Stopped, String::new()));
    let mut host = Counter { stop_at_tick: Some((3, Stop::Kill)), ..Counter::default() };
    let (outcome, reply) = call(&mut engine, &mut host, 1, body, "f");
    assert_eq!(outcome, Outcome::Failed { is_counted: false });
    assert_eq!(reply, "-ERR Script killed by user with SCRIPT KILL... script: f, on @user_function:2.|");
}

#[test]
fn what_libraries_keep_has_an_end_and_the_engine_goes_on() {
    let body = "local kept = {} redis.register_function('f', function() \
                for i = 1, 1000 do kept[#kept + 1] = ('x'):rep(1000) .. i end return #kept end)";
    let mut engine = Functions::new(4 << 20);
    let mut most = 0;
    for _ in 0..20 {
        let (_, reply) = call(&mut engine, &mut Counter::default(), 1, body, "f");
        assert!(reply.starts_with(':') || reply.contains("not enough memory"), "{reply}");
        most = most.max(engine.used_bytes());
    }
    assert!(most <= 2 << 20, "{most}");
    let full = "redis.register_function('f', function() return ('x'):rep(100000000) end)";
    let (_, reply) = call(&mut engine, &mut Counter::default(), 2, full, "f");
    assert!(reply.contains("not enough memory"), "{reply}");
    assert_eq!(
        check("local s = 'x' while true do s = s .. s end"),
        Err("ERR Error registering functions: ERR not enough memory".to_owned())
    );
}
