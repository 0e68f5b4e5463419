//! Keyspace events, compared with the oracle's: the same commands on both, a listener on each, the same events in the same order.
//!
//! The commands are one script, so each finds the keys as those before it have left them. Keys that end by time are a test of
//! their own, for when they are found to have ended is each server's own affair.

use crate::client::Client;
use crate::server::Server;
use crate::value::Value;

/// One command a line; lines without a command are blank.
const COMMANDS: &str = "
SET s 1
SET s 2
SET s 3 NX
SET s 3 XX
SET s 4 EX 100
SET s 5 KEEPTTL
SET s 6 GET
SET fresh 6 GET
SET none 1 XX
SET s 6 PXAT 99999999999999
SETNX s 1
SETNX s2 1
SETEX s2 100 v
PSETEX s3 100000 v
GETSET s3 w
GETSET s4 w
GETDEL s4
GETDEL s4
GETEX s3
GETEX s3 EX 100
GETEX s3 PERSIST
GETEX s3 PERSIST
GETEX s3 PXAT 1
GETEX s3 EX 100
GET s
GET missing
GET missing
MGET s missing missing2
EXISTS missing
TYPE missing
TTL missing
STRLEN missing
TOUCH missing
OBJECT ENCODING missing
GETRANGE missing 0 1
LCS missing missing2
APPEND ap x
APPEND ap y
SETRANGE ap 1 zz
SETRANGE ap2 1 zz
SETRANGE ap3 1 
INCR n
DECR n
INCRBY n 5
DECRBY n 5
INCRBYFLOAT n 0.5
INCR ap
MSET a 1 b 2 a 3
MSETNX a 1 c 2
MSETNX d 1 c 2
HSET h f 1
HSET h f 1
HSET h f 1 g 2
HMSET h2 f 1
HSETNX h f 2
HSETNX h k 2
HINCRBY h n 1
HINCRBYFLOAT h n 1.5
HDEL h nothing
HDEL h f g
HDEL h k n
HDEL h k
HGETDEL h2 FIELDS 2 nothing f
HGETDEL h2 FIELDS 1 f
HGET missing f
HGETALL missing
LPUSH l a b c
RPUSH l d
LPUSHX l e
RPUSHX l e
LPUSHX missing e
LINSERT l BEFORE a x
LINSERT l BEFORE nothing x
LSET l 0 y
LSET l 100 y
LREM l 0 x
LREM l 0 nothing
LPOP l
RPOP l 1
LPOP l 0
LPOP missing
LTRIM l 0 100
LTRIM l 0 1
LTRIM l 5 10
LTRIM l 5 10
RPUSH l a
LPOP l
RPUSH l a b c
RPOP l 3
RPUSH l a b
LMOVE l m LEFT RIGHT
LMOVE l m RIGHT LEFT
LMOVE m m LEFT RIGHT
LMOVE missing m LEFT RIGHT
RPOPLPUSH m l
RPOPLPUSH m m
RPOPLPUSH m m2
LMPOP 2 missing l LEFT COUNT 5
RPUSH l a b c
LMPOP 1 l RIGHT COUNT 2
BLPOP l 0
RPUSH l a b
BRPOP l 0
BLMOVE l m LEFT LEFT 0
BRPOPLPUSH m l 0
BLMPOP 0 1 l LEFT
LREM m2 0 b
LLEN missing
SADD set a
SADD set a
SADD set a b c
SREM set nothing
SREM set a
SMOVE set set2 b
SMOVE set set2 b
SMOVE set set2 c
SMOVE set2 set2 c
SADD set3 b
SMOVE set2 set3 b
SPOP set2
SPOP set2
SADD set 1 2 3
SPOP set 0
SPOP set 1
SPOP set 5
SADD set 1 2 3
SADD set2 2 3 4
SINTERSTORE out set set2
SINTERSTORE out set set2
SUNIONSTORE out set set2
SDIFFSTORE out set set2
SINTERSTORE out set missing
SINTERSTORE out set missing
SET out string
SUNIONSTORE out set
SET out string
SINTERSTORE out set missing
SMEMBERS missing
SREM set 1 2 3
ZADD z 1 a
ZADD z 1 a
ZADD z 2 a
ZADD z NX 3 a
ZADD z XX 3 b
ZADD z INCR 1 a
ZADD z NX INCR 1 a
ZADD z CH 1 a 2 b
ZADD z 1 a 2 b
ZINCRBY z 5 c
ZINCRBY z 0 c
ZREM z nothing
ZREM z a
ZREM z b c
ZADD z 1 a 2 b 3 c 4 d
ZPOPMIN z
ZPOPMAX z
ZPOPMIN z 0
ZPOPMIN missing
ZMPOP 1 z MIN COUNT 5
ZADD z 1 a 2 b 3 c 4 d
ZREMRANGEBYRANK z 0 0
ZREMRANGEBYSCORE z 2 2
ZREMRANGEBYLEX z [c [c
ZREMRANGEBYSCORE z 100 200
ZREMRANGEBYRANK z 0 -1
ZADD z 1 a 2 b
ZADD z2 1 b 2 c
ZUNIONSTORE zo 2 z z2
ZINTERSTORE zo 2 z z2
ZDIFFSTORE zo 2 z z2
ZRANGESTORE zo z 0 -1
ZRANGESTORE zo z 5 10
ZRANGESTORE zo z 5 10
ZINTERSTORE zo 2 z missing
ZUNIONSTORE zo 2 z z2
ZINTERSTORE zo 2 z missing
BZPOPMIN z 0
BZPOPMAX z 0
BZMPOP 0 1 z2 MAX
ZADD z 1 a
ZSCORE missing a
ZRANGE missing 0 -1
DEL a b nothing
UNLINK c nothing
DEL nothing
SET k v
RENAME k k2
SET k v
RENAME k k2
RENAME k2 k2
RENAMENX k2 k2
SET k v
RENAMENX k k2
RENAMENX k k5
RENAME nothing x
COPY k2 k6
COPY k2 k6
COPY k2 k6 REPLACE
COPY k2 k6 DB 3
COPY nothing k7
MOVE k6 3
MOVE k5 3
MOVE nothing 3
EXPIRE k2 100
EXPIRE k2 100 NX
PEXPIRE k2 100000
EXPIREAT k2 99999999999
PEXPIREAT k2 99999999999999
PERSIST k2
PERSIST k2
EXPIRE nothing 100
EXPIRE k2 -1
SET k2 v
PEXPIREAT k2 1
SELECT 3
SET other 1
DEL other
SELECT 0
MULTI
SET t 1
INCR t
LPUSH t x
GET nothing
DEL t
EXEC
MULTI
SET t 1
DISCARD
EVAL return{redis.call('SET','k','1'),redis.call('INCR','k'),redis.call('DEL','k')} 0
EVAL redis.call('SET','k','1');return{redis.pcall('LPUSH','k','1')} 0
EVAL redis.call('GET','nothing') 0
HSET big f1 1
HDEL big f1
FLUSHDB
SET left 1
FLUSHALL
RANDOMKEY
DBSIZE
KEYS *
XADD st 1-1 f v
XADD st 1-1 f v
XADD st MAXLEN 1 2-1 f v
XADD st MAXLEN 5 3-1 f v
XADD nost NOMKSTREAM 3-1 f v
XADD st 4-1 f v
XLEN nost
XTRIM st MAXLEN 100
XTRIM st MAXLEN 2
XDEL st 9-9
XDEL st 3-1
XSETID st 5-1
XRANGE nost - +
XREAD STREAMS nost 0
XGROUP CREATE st g 0
XGROUP CREATE mk g 0 MKSTREAM
XGROUP CREATE st g 0
XGROUP SETID st g 1
XGROUP CREATECONSUMER st g c
XGROUP CREATECONSUMER st g c
XREADGROUP GROUP g c STREAMS st >
XREADGROUP GROUP g d STREAMS st >
XREADGROUP GROUP g e STREAMS st 0
XCLAIM st g f 0 4-1
XAUTOCLAIM st g h 0 0
XPENDING nost g
XACK st g 4-1
XDELEX st IDS 2 9-9 4-1
XADD st 6-1 f v
XREADGROUP GROUP g c STREAMS st >
XACKDEL st g IDS 1 6-1
XGROUP DELCONSUMER st g c
XGROUP DELCONSUMER st g c
XGROUP DESTROY st g
XGROUP DESTROY st g
XINFO STREAM nost
XADD st 7-1 f v
XTRIM st MAXLEN 0
COPY st st2
RENAME st2 st3
DEL st3
";

/// What the listener is sent up to a mark that is published behind a command.
fn events(listener: &mut Client, publisher: &mut Client) -> Vec<String> {
    publisher.run("PUBLISH __key-end over");
    let mut events = Vec::new();
    loop {
        let Value::Array(items) = listener.read() else { panic!("not a message") };
        let words: Vec<String> = items[2..].iter().map(Value::text).collect();
        if words[0] == "__key-end" {
            return events;
        }
        events.push(words.join(" "));
    }
}

/// The events of each command of the script.
fn play(server: &Server, classes: &str) -> Vec<(String, Vec<String>)> {
    let (mut client, mut publisher, mut listener) = (server.client(), server.client(), server.client());
    client.ok(&format!("CONFIG SET notify-keyspace-events {classes}"));
    listener.run("PSUBSCRIBE __key*");
    let mut told = Vec::new();
    for line in COMMANDS.lines().filter(|line| !line.trim().is_empty()) {
        client.run(line);
        told.push((line.to_owned(), events(&mut listener, &mut publisher)));
    }
    told
}

fn compare(classes: &str, options: &[&str]) {
    let (subject, oracle) = (Server::tuff(options), Server::redis(&[]));
    let (ours, theirs) = (play(&subject, classes), play(&oracle, classes));
    let wrong: Vec<String> = ours
        .iter()
        .zip(&theirs)
        .filter(|(our, their)| our != their)
        .map(|(our, their)| format!("{}\n  expected {:?}\n  was told {:?}", our.0, their.1, our.1))
        .collect();
    assert!(wrong.is_empty(), "{} commands with {classes}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_command_tells_the_events_of_redis_in_its_order() {
    compare("KEAmnoc", &[]);
}

#[test]
fn events_are_the_same_with_packing_off() {
    let options: &[&str] = if crate::server::subject_is_oracle() { &[] } else { &["--packing", "no"] };
    compare("KEAmnoc", options);
}

/// The same commands in one write: many of them are committed together.
fn play_in_one_burst(server: &Server) -> Vec<String> {
    let (mut client, mut publisher, mut listener) = (server.client(), server.client(), server.client());
    client.ok("CONFIG SET notify-keyspace-events KEAmnoc");
    listener.run("PSUBSCRIBE __key*");
    let lines: Vec<&str> = COMMANDS.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut burst = Vec::new();
    for line in &lines {
        crate::client::encode(&line.split(' ').collect::<Vec<_>>(), &mut burst);
    }
    client.send_raw(&burst).unwrap();
    lines.iter().for_each(|_| drop(client.read()));
    events(&mut listener, &mut publisher)
}

#[test]
fn commands_committed_together_tell_what_they_tell_one_by_one() {
    assert_eq!(play_in_one_burst(&Server::tuff(&[])), play_in_one_burst(&Server::redis(&[])));
}

#[test]
fn a_command_that_runs_again_tells_once() {
    if crate::server::subject_is_oracle() {
        return;
    }
    let (subject, oracle) = (Server::tuff(&["--enable-debug-command", "yes"]), Server::redis(&[]));
    let play = |server: &Server, chills: bool| {
        let (mut client, mut publisher, mut listener) = (server.client(), server.client(), server.client());
        client.ok("CONFIG SET notify-keyspace-events KEAmnoc");
        listener.run("PSUBSCRIBE __key*");
        let mut told = Vec::new();
        for line in COMMANDS.lines().filter(|line| !line.trim().is_empty()) {
            if chills {
                publisher.ok("DEBUG CHILL");
            }
            client.run(line);
            told.push((line.to_owned(), events(&mut listener, &mut publisher)));
        }
        told
    };
    assert_eq!(play(&subject, true), play(&oracle, false));
}

#[test]
fn only_the_classes_asked_for_are_told() {
    for classes in ["Kg$", "Elz", "KEm", "En", "Eo", "Ec", "K", "A", "Eh", "Es"] {
        compare(classes, &[]);
    }
}

#[test]
fn a_key_that_was_to_end_before_it_came_is_there_for_a_moment() {
    for server in [Server::redis(&[]), Server::tuff(&[])] {
        let (mut client, mut listener) = (server.client(), server.client());
        client.ok("CONFIG SET notify-keyspace-events Exgn$");
        listener.run("PSUBSCRIBE __key*");
        for before in [&["new"][..], &[]] {
            client.ok("SET s 1 PXAT 1");
            for event in before.iter().chain(&["set", "expire", "expired"]) {
                if *event == "expired" {
                    client.run("GET s");
                }
                assert_eq!(told(&mut listener), format!("__keyevent@0__:{event} s"));
            }
            client.ok("SET s 1");
            assert_eq!(
                [told(&mut listener), told(&mut listener)],
                ["new", "set"].map(|e| format!("__keyevent@0__:{e} s"))
            );
        }
    }
}

fn told(listener: &mut Client) -> String {
    match listener.read() {
        Value::Array(items) => items[2..].iter().map(Value::text).collect::<Vec<_>>().join(" "),
        other => panic!("not a message: {}", other.render()),
    }
}

#[test]
fn a_key_that_ends_is_told_once_found_or_not() {
    for server in [Server::redis(&[]), Server::tuff(&["--enable-debug-command", "yes"])] {
        let (mut client, mut listener) = (server.client(), server.client());
        client.ok("CONFIG SET notify-keyspace-events Exn$");
        listener.run("PSUBSCRIBE __key*");
        // Nobody looks at it.
        client.ok("SET a 1 PX 20");
        assert_eq!(
            [told(&mut listener), told(&mut listener)],
            ["__keyevent@0__:new a", "__keyevent@0__:set a"]
        );
        assert_eq!(told(&mut listener), "__keyevent@0__:expired a");
        // Somebody does.
        client.ok("SET b 1 PX 20");
        while client.run("GET b") != Value::NullBulk {}
        let three = [told(&mut listener), told(&mut listener), told(&mut listener)];
        assert_eq!(three, ["__keyevent@0__:new b", "__keyevent@0__:set b", "__keyevent@0__:expired b"]);
        // It is written over before anybody has come to remove it, or after.
        client.ok("SET c 1 PX 20");
        while client.run("SET c 2 NX") == Value::NullBulk {}
        client.run("DEL b");
        client.run("PUBLISH __key-end over");
        let mut events = Vec::new();
        while events.last().is_none_or(|event| event != "__key-end over") {
            events.push(told(&mut listener));
        }
        let name = |event: &str| format!("__keyevent@0__:{event} c");
        let expected: Vec<String> = ["new", "set", "expired", "new", "set"].map(name).into();
        assert_eq!(events[..events.len() - 1], expected);
    }
}
