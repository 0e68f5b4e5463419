//! Scripts through the whole engine, with a host of a few commands.

use std::collections::BTreeMap;

use crate::resp::{Proto, Reply};
use crate::script::{Engine, Host, LogLevel, Outcome, Script, Stop};

/// Far more than these scripts need.
const BYTES_MAX: usize = 64 << 20;

/// A host with strings and nothing else.
#[derive(Default)]
struct Strings {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    /// How the n-th tick is answered; those before are fine.
    stop_at_tick: Option<(u64, Stop)>,
    ticks: u64,
    /// The call of this number (from 0) is answered so.
    stop_at_call: Option<(u64, Stop)>,
    calls: u64,
    log: Vec<(LogLevel, Vec<u8>)>,
    /// What `REPLY` answers.
    canned: Vec<u8>,
}

impl Host for Strings {
    fn call(&mut self, words: &[&[u8]], proto: Proto, out: &mut Vec<u8>) -> Result<(), Stop> {
        if let Some((at, stop)) = self.stop_at_call
            && self.calls == at
        {
            return Err(stop);
        }
        self.calls += 1;
        let mut reply = Reply::new(out, proto);
        match words {
            [b"GET", key] => match self.keys.get(*key) {
                Some(value) => reply.bulk(value),
                None => reply.null(),
            },
            [b"SET", key, value] => {
                self.keys.insert(key.to_vec(), value.to_vec());
                reply.ok();
            }
            [b"DEL", key] => reply.integer(i64::from(self.keys.remove(*key).is_some())),
            [b"ECHO", text] => reply.bulk(text),
            [b"REPLY"] => reply.raw(&self.canned),
            [b"PANIC"] => panic!("the host has a bug"),
            _ => reply.error("ERR Unknown Redis command called from script"),
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Stop> {
        self.ticks += 1;
        match self.stop_at_tick {
            Some((at, stop)) if self.ticks >= at => Err(stop),
            _ => Ok(()),
        }
    }

    fn may_run(&mut self, words: &[&[u8]]) -> Option<bool> {
        match words[0] {
            b"GET" => Some(true),
            b"SET" => Some(false),
            _ => None,
        }
    }

    fn seed(&mut self) -> u64 {
        0x1234_ABCD_330E
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        self.log.push((level, text.to_vec()));
    }
}

fn run_with(engine: &mut Engine, host: &mut Strings, text: &str, proto: Proto) -> (Outcome, String) {
    let script = Script::parse(text.as_bytes()).unwrap();
    let mut out = Vec::new();
    let keys: [&[u8]; 2] = [b"key1", b"key2"];
    let args: [&[u8]; 3] = [b"arg1", b"2", b""];
    let outcome = engine.run(&script, &keys, &args, host, &mut Reply::new(&mut out, proto));
    (outcome, String::from_utf8_lossy(&out).replace("\r\n", "|").replace(&script.sha().to_string(), "SHA"))
}

fn run(text: &str) -> String {
    run_with(&mut Engine::new(BYTES_MAX), &mut Strings::default(), text, Proto::Resp2).1
}

fn run3(text: &str) -> String {
    run_with(&mut Engine::new(BYTES_MAX), &mut Strings::default(), text, Proto::Resp3).1
}

#[test]
fn a_result_is_written() {
    assert_eq!(run("return 1"), ":1|");
    assert_eq!(run("return {KEYS[2], ARGV[2], #KEYS, #ARGV}"), "*4|$4|key2|$1|2|:2|:3|");
}

#[test]
fn a_command_is_called_and_its_reply_comes_back() {
    let text =
        "redis.call('SET', KEYS[1], 3.5) return {redis.call('GET', KEYS[1]), redis.call('GET', 'none')}";
    assert_eq!(run(text), "*2|$3|3.5|$-1|");
}

#[test]
fn an_endless_loop_ends_when_the_host_says_so() {
    for text in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do pcall(error) end",
        "local function f() return xpcall(f, f) end while true do f() end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do local co = coroutine.wrap(function() while true do end end) pcall(co) end",
        "load(function() return '1' end)",
        "load(os.clock)",
        "while true do load(function() while true do end end) end",
        "local t = {} t[1] = t t[2] = t return t",
        "while true do pcall(redis.call, 'GET', 'x') end",
        "while true do collectgarbage() end",
        "string.rep('', 2000000000) while true do string.rep('', 2000000000) end",
        "setmetatable({}, {__index = function(t, k) return t[k] end}).x = 1 while true do end",
    ] {
        let mut engine = Engine::new(BYTES_MAX);
        for stop in [Stop::Again, Stop::Kill] {
            let mut host = Strings { stop_at_tick: Some((3, stop)), ..Strings::default() };
            let (outcome, reply) = run_with(&mut engine, &mut host, text, Proto::Resp2);
            match stop {
                Stop::Again => assert_eq!((outcome, &*reply), (Outcome::Stopped, ""), "{text}"),
                Stop::Kill => {
                    assert_eq!(outcome, Outcome::Failed { is_counted: false }, "{text}");
                    assert!(reply.contains("Script killed by user with SCRIPT KILL..."), "{text}: {reply}");
                }
            }
            assert!(host.ticks < 10, "{text}: {} ticks", host.ticks);
            assert_eq!(run_with(&mut engine, &mut Strings::default(), "return 7", Proto::Resp2).1, ":7|");
        }
    }
}

#[test]
fn a_stopped_call_ends_the_script_past_every_pcall() {
    for text in [
        "redis.call('SET', 'a', '1') redis.call('SET', 'b', '1') return 1",
        "redis.pcall('SET', 'a', '1') pcall(redis.pcall, 'SET', 'b', '1') redis.call('SET', 'c', '1')",
        "local function f(e) redis.call('SET', 'c', '1') return e end
         redis.call('SET', 'a', '1') xpcall(function() redis.call('SET', 'b', '1') end, f) f()",
        "redis.call('SET', 'a', '1')
         coroutine.resume(coroutine.create(function() redis.call('SET', 'b', '1') end))
         redis.call('SET', 'c', '1')",
    ] {
        let mut engine = Engine::new(BYTES_MAX);
        let mut host = Strings { stop_at_call: Some((1, Stop::Again)), ..Strings::default() };
        let (outcome, reply) = run_with(&mut engine, &mut host, text, Proto::Resp2);
        assert_eq!((outcome, &*reply, host.calls), (Outcome::Stopped, "", 1), "{text}");
        // Again, from the start, with the host willing.
        let mut host = Strings::default();
        let (outcome, _) = run_with(&mut engine, &mut host, text, Proto::Resp2);
        assert_eq!(outcome, Outcome::Done, "{text}");
    }
}

#[test]
fn a_panic_of_the_host_goes_through_and_the_engine_goes_on() {
    let mut engine = Engine::new(BYTES_MAX);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run_with(&mut engine, &mut Strings::default(), "pcall(redis.call, 'PANIC') return 1", Proto::Resp2)
    }));
    assert!(result.is_err());
    assert_eq!(run_with(&mut engine, &mut Strings::default(), "return 7", Proto::Resp2).1, ":7|");
}

#[test]
fn resp3_has_its_own_forms() {
    assert_eq!(run3("return {true, false, {double = 0.5}}"), "*3|:1|_|,0.5|");
    assert_eq!(run3("redis.setresp(3) return {true, false}"), "*2|#t|#f|");
    assert_eq!(run3("return {map = {a = {set = {b = true}}}}"), "%1|$1|a|~1|$1|b|");
    assert_eq!(run3("return {big_number = '12\\n3'}"), "(12 3|");
    assert_eq!(run3("return {verbatim_string = {format = 'mk', string = 'x'}}"), "=5|mk :x|");
}

#[test]
fn each_reply_becomes_its_value() {
    let check = |canned: &str, text: &str, expected: &str| {
        let mut host = Strings {
            canned: canned.replace('|', "\r\n").replace('@', "|").into_bytes(),
            ..Strings::default()
        };
        let text = format!("redis.setresp(3) local r = redis.call('REPLY') {text}");
        let (_, reply) = run_with(&mut Engine::new(BYTES_MAX), &mut host, &text, Proto::Resp2);
        assert_eq!(reply, expected, "{canned}");
    };
    check("$-1|", "return tostring(r)", "$5|false|");
    check("*-1|", "return tostring(r)", "$5|false|");
    check("_|", "return tostring(r)", "$3|nil|");
    check("#t|", "return tostring(r)", "$4|true|");
    check(",-inf|", "return tostring(r.double)", "$4|-inf|");
    check(",nan|", "return tostring(r.double ~= r.double)", "$4|true|");
    check("(123456789012345678901|", "return r.big_number", "$21|123456789012345678901|");
    check("=7|txt:abc|", "return {r.verbatim_string.format, r.verbatim_string.string}", "*2|$3|txt|$3|abc|");
    check("%1|$1|a|*2|:1|+OK|", "return {r.map.a[1], r.map.a[2].ok}", "*2|:1|$2|OK|");
    check("~2|$1|a|:5|", "return {tostring(r.set.a), tostring(r.set[5])}", "*2|$4|true|$4|true|");
    check("@1|+a|:1|:7|", "return r", ":7|");
    check("*1", "return 1", "-ERR a reply that cannot be read script: SHA, on @user_script:1.|");
    check("$9|a|", "return 1", "-ERR a reply that cannot be read script: SHA, on @user_script:1.|");
    let deep = "*1|".repeat(100);
    check(&deep, "return 1", "-ERR a reply that cannot be read script: SHA, on @user_script:1.|");
}

#[test]
fn memory_has_an_end_and_the_engine_goes_on() {
    let mut engine = Engine::new(8 << 20);
    for text in [
        "return string.rep('x', 100000000)",
        "local t = {} for i = 1, 1e8 do t[i] = i end",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} while true do t = {t} end",
        "local s = {} while true do local ok, e = pcall(string.rep, 'x', 1e8) s = {s, e} end",
    ] {
        let (outcome, reply) = run_with(&mut engine, &mut Strings::default(), text, Proto::Resp2);
        assert_eq!(outcome, Outcome::Failed { is_counted: false }, "{text}");
        assert!(reply.starts_with("-ERR ") && reply.contains("not enough memory"), "{text}: {reply}");
        assert_eq!(run_with(&mut engine, &mut Strings::default(), "return 7", Proto::Resp2).1, ":7|");
    }
    assert!(engine.used_bytes() < 8 << 20);
}

#[test]
fn a_reply_that_would_never_end_is_refused() {
    let text = "local t = {'0123456789'} for i = 1, 40 do t = {t, t} end return t";
    let (outcome, reply) = run_with(&mut Engine::new(1 << 20), &mut Strings::default(), text, Proto::Resp2);
    assert_eq!(outcome, Outcome::Failed { is_counted: false });
    assert_eq!(reply, "-ERR Error running script SHA, the reply is too long|");
}

#[test]
fn deep_recursion_ends_in_an_error() {
    for text in [
        "local function f() return 1 + f() end return f()",
        "local function f() return pcall(f) end return f()",
        "local function f() return string.gsub('x', 'x', f) end return f()",
        "local function f() return coroutine.wrap(f)() end return f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x",
        "local t = {} for i = 1, 100000 do t = {t} end return t",
        "return loadstring('return ' .. ('('):rep(10000) .. (')'):rep(10000))",
        "return loadstring(('do '):rep(10000) .. ('end '):rep(10000))",
        "local function f() return table.sort({1, 2, 3}, f) end return f()",
        "local function f() return xpcall(f, f) end return f()",
    ] {
        // A worker's stack is 2 MB.
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        let reply = thread.spawn(move || run(text)).unwrap().join().unwrap();
        assert!(!reply.is_empty(), "{text}");
    }
}

#[test]
fn bytecode_is_not_loaded() {
    let text = "local f, e = loadstring(string.dump(function() return 1 end)) return {tostring(f), e}";
    assert!(run(text).contains("unexpected symbol near 'char(27)'"), "{}", run(text));
    let text = "local s = string.dump(function() return 1 end)
        local f, e = load(function() local r = s s = nil return r end) return {tostring(f), e}";
    assert!(run(text).contains("unexpected symbol near 'char(27)'"), "{}", run(text));
    assert!(run("\u{1b}Lua").starts_with("-ERR Error compiling script"));
}

#[test]
fn what_a_script_did_to_its_world_is_gone_in_the_next() {
    let mut engine = Engine::new(BYTES_MAX);
    let mut run = |text: &str| run_with(&mut engine, &mut Strings::default(), text, Proto::Resp2).1;
    let first = run("return {math.random(1000), math.random(1000)}");
    run("math.randomseed(7) redis.setresp(3) collectgarbage('stop') collectgarbage('setpause', 100000)");
    assert_eq!(run("return {math.random(1000), math.random(1000)}"), first);
    assert_eq!(run("return {true}"), "*1|:1|");
    for text in [
        "redis.x = 1",
        "rawset(redis, 'x', 1)",
        "rawset(_G, 'x', 1)",
        "rawset(getmetatable(''), '__index', nil)",
        "rawset(getmetatable('').__index, 'x', 1)",
        "rawset(getmetatable(_G), '__index', nil)",
        "getmetatable(getmetatable(_G)).x = 1",
        "table.insert(_G, 1)",
        "setmetatable(string, {})",
        "table.insert(table, 1)",
        "string.x = 1",
        "_G._G = 1",
        "pairs(_G)(_G).x = 1",
        "for k, v in pairs(_G) do if type(v) == 'table' then v.x = 1 end end",
        "KEYS.x = 1 ARGV = {}",
    ] {
        let reply = run(text);
        assert!(reply.starts_with('-'), "{text}: {reply}");
    }
    assert_eq!(run("return {rawget(redis, 'x'), rawget(_G, 'x'), ('x').x, KEYS.x, #_G, #redis}"), "*0|");
    assert_eq!(run("return ('ab'):rep(2)"), "$4|abab|");
}

#[test]
fn an_error_names_the_place_of_the_innermost_line_of_the_script() {
    assert_eq!(
        run("\n redis.log()"),
        "-ERR redis.log() requires two arguments or more. script: SHA, on @user_script:2.|"
    );
    let text = "table.foreach({x = 1}, redis.log)";
    assert_eq!(run(text), "-ERR First argument must be a number (log level). script: SHA, on =[C]:-1.|");
    assert_eq!(
        run("return redis.log()"),
        "-ERR redis.log() requires two arguments or more. script: SHA, on @user_script:1.|"
    );
}

#[test]
fn the_log_and_permissions_are_the_hosts() {
    let mut host = Strings::default();
    let text = "redis.log(redis.LOG_WARNING, 'a', 1, {}, 'b') return {redis.acl_check_cmd('GET', 'x'), \
                redis.acl_check_cmd('SET', 'x')}";
    let (_, reply) = run_with(&mut Engine::new(BYTES_MAX), &mut host, text, Proto::Resp2);
    assert_eq!(reply, "*2|:1|$-1|");
    assert_eq!(host.log, [(LogLevel::Warning, b"a 1 b".to_vec())]);
}
