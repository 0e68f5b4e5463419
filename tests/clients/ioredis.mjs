// ioredis: pipelines, transactions, scripts, messages, streams and blocking pops, and what it does when the server is gone for a
// while.

import assert from "node:assert/strict";
import { claim, connect, host, inTime, key, OwnServer, port, Redis, require, run, sleep, waitUntil } from "./flow.mjs";

claim("a pipeline answers in order, and an error stands in its own place", async () => {
    const r = connect();
    const [text, list] = [key("text"), key("list")];
    const results = await r.pipeline().set(text, "a").lpush(text, 1).append(text, "b").rpush(list, 1, 2, 3).get(text).exec();
    assert.deepEqual(results.map(([error]) => error?.message?.split(" ")[0] ?? null), [null, "WRONGTYPE", null, null, null]);
    assert.deepEqual([results[0][1], results[2][1], results[3][1], results[4][1]], ["OK", 2, 3, "ab"]);
    const many = r.pipeline();
    const counter = key("counter");
    for (let i = 0; i < 20_000; i += 1) {
        many.incr(counter);
    }
    assert.deepEqual((await many.exec()).map(([, value]) => value), Array.from({ length: 20_000 }, (_, i) => i + 1));
});

claim("a transaction is whole, or nothing of it is done", async () => {
    const r = connect();
    const [a, b] = [key("a"), key("b")];
    assert.deepEqual(await r.multi().set(a, 1).incr(a).hset(b, "f", "v").hgetall(b).exec(), [
        [null, "OK"], [null, 2], [null, 1], [null, { f: "v" }],
    ]);
    const failing = await r.multi().incr(a).incr(b).get(a).exec();
    assert.equal(failing[0][1], 3);
    assert.match(failing[1][0].message, /^WRONGTYPE/);
    assert.equal(failing[2][1], "3");
    await assert.rejects(r.multi().incr(a).set(a).exec(), /EXECABORT/);
    assert.equal(await r.get(a), "3");
    // Step by step, without a pipeline.
    await r.multi({ pipeline: false });
    assert.equal(await r.incr(a), "QUEUED");
    assert.deepEqual(await r.exec(), [[null, 4]]);
    await r.multi({ pipeline: false });
    await r.incr(a);
    assert.equal(await r.discard(), "OK");
    assert.equal(await r.get(a), "4");
});

claim("a watched key that has changed stops the transaction", async () => {
    const [r, other] = [connect(), connect()];
    const name = key("watched");
    await r.watch(name);
    await other.set(name, "theirs");
    assert.equal(await r.multi().set(name, "ours").exec(), null);
    await r.watch(name);
    assert.deepEqual(await r.multi().set(name, "ours").exec(), [[null, "OK"]]);
    assert.equal(await r.get(name), "ours");
});

claim("automatic pipelining keeps each answer with its question", async () => {
    const r = connect({ enableAutoPipelining: true });
    const names = Array.from({ length: 500 }, (_, i) => key(`auto${i}`));
    await Promise.all(names.map((name, i) => r.set(name, i)));
    assert.deepEqual(await Promise.all(names.map((name) => r.get(name))), names.map((_, i) => String(i)));
    const mixed = await Promise.allSettled([r.incr(names[1]), r.lpush(names[1], 1), r.mget(names[2], names[3])]);
    assert.deepEqual([mixed[0].value, mixed[1].status, mixed[2].value], [2, "rejected", ["2", "3"]]);
});

claim("a prefix is put before every key, in scripts and transactions too, and before no channel's message", async () => {
    const keyPrefix = `${key("prefix")}:`;
    const [r, subscriber, plain] = [connect({ keyPrefix }), connect({ keyPrefix }), connect()];
    await r.mset("a", 1, "b", 2);
    await r.multi().sadd("s1", "x", "y").sadd("s2", "y").sinterstore("s3", "s1", "s2").exec();
    await r.zadd("z1", 1, "m");
    await r.zunionstore("z2", 1, "z1");
    assert.deepEqual(await plain.mget(`${keyPrefix}a`, `${keyPrefix}b`), ["1", "2"]);
    assert.deepEqual(await plain.smembers(`${keyPrefix}s3`), ["y"]);
    assert.deepEqual(await plain.zrange(`${keyPrefix}z2`, 0, -1), ["m"]);
    assert.equal(await r.eval("return redis.call('get', KEYS[1])", 1, "b"), "2");
    const heard = [];
    subscriber.on("message", (channel, message) => heard.push([channel, message]));
    subscriber.on("pmessage", (pattern, channel, message) => heard.push([pattern, channel, message]));
    // ioredis takes a channel for a key where it subscribes, and where it publishes.
    const channel = key("news");
    assert.equal(await subscriber.subscribe(channel), 1);
    assert.equal(await r.publish(channel, "hello"), 1);
    await waitUntil(() => heard.length === 1, "the message is there");
    assert.equal(heard[0][1], "hello");
    assert.ok(heard[0][0].endsWith(channel));
    assert.equal(await plain.publish(heard[0][0], "again"), 1);
    await waitUntil(() => heard.length === 2, "the other message is there");
    assert.deepEqual(heard[1], [heard[0][0], "again"]);
});

claim("messages come to whoever has subscribed, in order, and to none after", async () => {
    const [r, subscriber] = [connect(), connect()];
    const [channel, other] = [key("channel"), key("other")];
    const heard = [];
    subscriber.on("message", (from, text) => heard.push(`${from} ${text}`));
    subscriber.on("pmessageBuffer", (pattern, from, text) => heard.push(`${pattern}: ${from} ${text}`));
    assert.equal(await subscriber.subscribe(channel, other), 2);
    assert.equal(await subscriber.psubscribe(`${channel}*`), 3);
    const told = r.pipeline();
    for (let i = 0; i < 200; i += 1) {
        told.publish(i % 2 ? channel : other, i);
    }
    assert.deepEqual((await told.exec()).map(([, count]) => count), Array.from({ length: 200 }, (_, i) => 1 + (i % 2)));
    const expected = Array.from({ length: 200 }, (_, i) =>
        i % 2 ? [`${channel} ${i}`, `${channel}*: ${channel} ${i}`] : [`${other} ${i}`]).flat();
    await waitUntil(() => heard.length === expected.length, "all messages are there");
    assert.deepEqual(heard, expected);
    await assert.rejects(subscriber.get("x"), /subscriber mode/);
    assert.equal(await subscriber.unsubscribe(channel, other), 1);
    assert.equal(await subscriber.punsubscribe(), 0);
    assert.equal(await r.publish(channel, "late"), 0);
    assert.equal(await subscriber.ping(), "PONG");
});

claim("a defined script is sent once and then named, also when the server has forgotten it", async () => {
    const scripts = {
        swap: { numberOfKeys: 1, lua: "local old = redis.call('get', KEYS[1]) redis.call('set', KEYS[1], ARGV[1]) return old" },
        total: { lua: "local n = 0 for i = 1, #KEYS do n = n + (tonumber(redis.call('get', KEYS[i])) or 0) end return n" },
    };
    const r = connect({ scripts });
    r.defineCommand("peek", { numberOfKeys: 1, lua: "return redis.call('get', KEYS[1])", readOnly: true });
    const [a, b] = [key("a"), key("b")];
    assert.equal(await r.swap(a, 5), null);
    assert.equal(await r.swap(a, 6), "5");
    await r.set(b, 4);
    assert.equal(await r.total(2, a, b), 10);
    assert.equal(await r.peek(a), "6");
    await r.script("FLUSH");
    assert.equal(await r.swap(a, 7), "6");
    await r.script("FLUSH");
    // Within a pipeline or a transaction a script has to be there before: a new client asks with SCRIPT EXISTS.
    assert.deepEqual(await connect({ scripts }).pipeline().swap(a, 8).total(2, a, b).get(a).exec(), [
        [null, "7"], [null, 12], [null, "8"],
    ]);
    await r.script("FLUSH");
    assert.deepEqual(await connect({ scripts }).multi().swap(a, 9).total(2, a, b).exec(), [[null, "8"], [null, 13]]);
    const bytes = Buffer.from([0, 13, 10, 255, 254]);
    await r.swapBuffer(a, bytes);
    assert.deepEqual(await r.swapBuffer(a, "x"), bytes);
});

claim("a script's error says where, and its results are what JavaScript expects", async () => {
    const r = connect();
    await assert.rejects(r.eval("return redis.call('nosuch')", 0), /Unknown Redis command called from script/);
    await assert.rejects(r.eval("error({err = 'MYERR no'})", 0), /^ReplyError: MYERR no/);
    await assert.rejects(r.evalsha("0".repeat(40), 0), /^ReplyError: NOSCRIPT/);
    assert.deepEqual(await r.eval("return {1, 2.9, 'x', false, {true, {ok = 'fine'}}}", 0), [1, 2, "x", null, [1, "fine"]]);
    assert.equal(await r.eval("return cjson.encode({a = 1})", 0), '{"a":1}');
    assert.equal(await r.eval("return cmsgpack.unpack(ARGV[1])[2]", 0, Buffer.from([0x92, 1, 0x2a])), 42);
});

claim("scans go over everything", async () => {
    const r = connect();
    const name = key("scan");
    const pipeline = r.pipeline();
    for (let i = 0; i < 1500; i += 1) {
        pipeline.hset(name, `field${i}`, i).sadd(`${name}:set`, i).zadd(`${name}:zset`, i, i).set(`${name}:key:${i}`, i);
    }
    await pipeline.exec();
    const all = async (stream) => (await stream.toArray()).flat();
    assert.equal(new Set(await all(r.hscanStream(name, { count: 100 }))).size >= 1500, true);
    assert.equal(new Set(await all(r.sscanStream(`${name}:set`))).size, 1500);
    assert.equal((await all(r.zscanStream(`${name}:zset`, { match: "*7" }))).length, 2 * 150);
    assert.equal(new Set(await all(r.scanStream({ match: `${name}:key:*`, count: 500, type: "string" }))).size, 1500);
    assert.deepEqual(await all(r.scanStream({ match: `${name}:none:*` })), []);
});

claim("bytes come back as they were, and objects as objects", async () => {
    const r = connect();
    const name = key("bytes");
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    await r.set(name, bytes, "EX", 100);
    assert.deepEqual(await r.getBuffer(name), bytes);
    await r.hset(`${name}:h`, new Map([["a", 1], ["b", bytes]]));
    assert.deepEqual((await r.hgetallBuffer(`${name}:h`)).b, bytes);
    assert.deepEqual(Object.keys(await r.hgetall(`${name}:h`)).sort(), ["a", "b"]);
    const number = connect({ stringNumbers: true });
    await r.set(`${name}:n`, "9223372036854775806");
    assert.equal(await number.incr(`${name}:n`), "9223372036854775807");
});

claim("who waits for a list, a set or a move gets it, and a timeout is a null", async () => {
    const [r, first, second] = [connect(), connect(), connect()];
    const [a, b, z] = [key("a"), key("b"), key("z")];
    // Who asks on another connection at the same moment may come first.
    const waiting = [first.blpop(a, b, 20)];
    await sleep(50);
    waiting.push(second.blpop(b, 20));
    await sleep(50);
    await r.rpush(b, "one", "two");
    assert.deepEqual(await inTime(Promise.all(waiting), "both"), [[b, "one"], [b, "two"]]);
    const move = first.blmove(a, b, "LEFT", "RIGHT", 20);
    const least = second.bzpopmin(z, 20);
    await sleep(50);
    await r.multi().zadd(z, 2, "two", 1, "one").rpush(a, "moved").exec();
    assert.equal(await inTime(move, "the move"), "moved");
    assert.deepEqual(await inTime(least, "the least"), [z, "one", "1"]);
    assert.deepEqual(await r.lrange(b, 0, -1), ["moved"]);
    assert.equal(await first.blpop(a, 0.05), null);
    assert.deepEqual(await first.blmpop(1, 1, b, "LEFT", "COUNT", 5), [b, ["moved"]]);
    // One that is closed while it waits takes nothing.
    const gone = new Redis({ host, port });
    gone.blpop(a, 0).catch(() => {});
    await sleep(50);
    gone.disconnect();
    await sleep(50);
    await r.rpush(a, "kept");
    assert.equal(await r.lpop(a), "kept");
});

claim("a stream is read by everybody, and by each group once", async () => {
    const [r, reader] = [connect(), connect()];
    const [name, group] = [key("stream"), "workers"];
    const waiting = reader.xread("BLOCK", 20_000, "STREAMS", name, "$");
    await sleep(50);
    const id = await r.xadd(name, "*", "kind", "first", "bytes", Buffer.from("å"));
    assert.deepEqual(await inTime(waiting, "the entry"), [[name, [[id, ["kind", "first", "bytes", "å"]]]]]);
    await r.xgroup("CREATE", name, group, "0");
    await assert.rejects(r.xgroup("CREATE", name, group, "0"), /BUSYGROUP/);
    const adding = r.pipeline();
    for (let i = 0; i < 100; i += 1) {
        adding.xadd(name, "*", "i", i);
    }
    await adding.exec();
    const mine = await r.xreadgroup("GROUP", group, "me", "COUNT", 60, "STREAMS", name, ">");
    const yours = await reader.xreadgroup("GROUP", group, "you", "COUNT", 60, "STREAMS", name, ">");
    const ids = [...mine[0][1], ...yours[0][1]].map(([entry]) => entry);
    assert.equal(new Set(ids).size, 101);
    assert.deepEqual([mine[0][1].length, yours[0][1].length], [60, 41]);
    assert.equal(await r.xack(name, group, ...ids.slice(0, 50)), 50);
    const pending = await r.xpending(name, group);
    assert.deepEqual([pending[0], pending[3]], [51, [["me", "10"], ["you", "41"]]]);
    const [next, claimed, deleted] = await r.xautoclaim(name, group, "heir", 0, "0-0", "COUNT", 20);
    assert.equal(claimed.length, 20);
    assert.deepEqual(deleted, []);
    assert.equal(next, ids[70]);
    assert.equal((await r.xpending(name, group, "-", "+", 100, "heir")).length, 20);
    assert.deepEqual((await r.xrange(name, "-", "+", "COUNT", 1))[0][0], id);
    assert.deepEqual((await r.xrevrange(name, "+", "-", "COUNT", 1))[0][1], ["i", "99"]);
    assert.equal(await r.xtrim(name, "MAXLEN", 10), 91);
    assert.equal(await r.xlen(name), 10);
    const told = await r.xinfo("STREAM", name);
    assert.equal(told[told.indexOf("length") + 1], 10);
    const blocked = reader.xreadgroup("GROUP", group, "you", "BLOCK", 20_000, "STREAMS", name, ">");
    await sleep(50);
    await r.xadd(name, "MAXLEN", "~", 10_000, "*", "i", "last");
    assert.deepEqual((await inTime(blocked, "the last"))[0][1][0][1], ["i", "last"]);
    assert.equal(await reader.xread("BLOCK", 30, "STREAMS", name, "$"), null);
});

claim("MONITOR shows what others do", async () => {
    const r = connect();
    const monitor = await connect().monitor();
    const name = key("monitored");
    const seen = [];
    monitor.on("monitor", (time, words) => seen.push(words));
    await r.set(name, "x");
    await waitUntil(() => seen.some((words) => words[1] === name), "the command is seen");
    assert.deepEqual(seen.find((words) => words[1] === name).map((word, i) => (i ? word : word.toLowerCase())), ["set", name, "x"]);
    monitor.disconnect();
});

claim("redlock: one has the lock, the next gets it when it is released or has run out", async () => {
    const Redlock = require("redlock");
    const r = connect();
    const name = key("lock");
    const single = new Redlock([r], { retryCount: 400, retryDelay: 10, retryJitter: 5 });
    const impatient = new Redlock([connect()], { retryCount: 0 });
    let [inside, most, done] = [0, 0, 0];
    await Promise.all(Array.from({ length: 8 }, async () => {
        const lock = await single.lock(name, 10_000);
        inside += 1;
        most = Math.max(most, inside);
        await sleep(5);
        inside -= 1;
        done += 1;
        await lock.unlock();
    }));
    assert.deepEqual([most, done], [1, 8]);
    const lock = await single.lock(name, 300);
    const longer = await lock.extend(60_000);
    assert.ok((await r.pttl(name)) > 50_000);
    await assert.rejects(impatient.lock(name, 1000), /LockError/);
    await longer.unlock();
    await assert.rejects(longer.unlock(), /LockError/);
    await single.lock(name, 100);
    await (await single.lock(name, 1000)).unlock();
});

claim("kill -9 loses nothing that was acknowledged, and the client goes on by itself", async () => {
    const server = await OwnServer.start();
    try {
        const own = { host: "127.0.0.1", port: server.port, retryStrategy: () => 20 };
        const [r, waiter, subscriber, talker] = [connect(own), connect(own), connect(own), connect(own)];
        const heard = [];
        subscriber.on("message", (_, text) => heard.push(text));
        await subscriber.subscribe("news");
        r.defineCommand("bump", { numberOfKeys: 2, lua: "redis.call('rpush', KEYS[2], ARGV[1]) return redis.call('incr', KEYS[1])" });
        const waiting = waiter.blpop("queue", 0);
        const acknowledged = new Set();
        let sent = 0;
        let over = false;
        const write = async () => {
            while (!over) {
                const number = (sent += 1);
                await r.bump("count", "log", number);
                acknowledged.add(String(number));
            }
        };
        const writers = Array.from({ length: 8 }, write);
        for (let kill = 0; kill < 3; kill += 1) {
            const before = acknowledged.size;
            await waitUntil(() => acknowledged.size > before + 300, "some are written");
            await server.kill();
            await server.startAgain();
        }
        await waitUntil(() => acknowledged.size > 1200, "it goes on");
        over = true;
        await inTime(Promise.all(writers), "the last writes");
        const log = await r.lrange("log", 0, -1);
        const there = new Set(log);
        assert.deepEqual([...acknowledged].filter((number) => !there.has(number)), []);
        // Each is a script of two writes: both are there, or neither.
        assert.equal(Number(await r.get("count")), log.length);
        // ioredis sends again what was not answered: that may be done twice, at most as many as were under way at a kill.
        assert.ok(log.length - there.size <= 3 * 8, `${log.length - there.size} done twice`);
        // Whoever waited waits again, and whoever listened listens again.
        await talker.rpush("queue", "job");
        assert.deepEqual(await inTime(waiting, "the waiter"), ["queue", "job"]);
        await waitUntil(async () => (await talker.publish("news", "back")) === 1, "the subscription is back");
        await waitUntil(() => heard.at(-1) === "back", "the message is heard");
    } finally {
        await server.stop();
    }
});

await run();
