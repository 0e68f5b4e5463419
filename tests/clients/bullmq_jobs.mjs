// BullMQ: jobs are added, worked off, retried, delayed, repeated, ordered by priority, slowed down and made to depend on each other;
// none is lost when the server is killed.

import assert from "node:assert/strict";
import { claim, connect, host, inTime, key, OwnServer, port, require, run, sleep, waitUntil } from "./flow.mjs";

const { FlowProducer, Queue, QueueEvents, UnrecoverableError, Worker } = require("bullmq");

/** The parts of one claim: whatever it makes is closed at its end, the last first. */
class Parts {
    constructor(connection = { host, port }, name = key("queue").replaceAll(":", "-")) {
        this.connection = connection;
        this.name = name;
        this.all = [];
    }

    queue(options = {}, name = this.name) {
        return this.#keep(new Queue(name, { connection: { ...this.connection }, ...options }));
    }

    worker(process, options = {}, name = this.name) {
        return this.#keep(new Worker(name, process, { connection: { ...this.connection }, ...options }));
    }

    async events(name = this.name) {
        const events = this.#keep(new QueueEvents(name, { connection: { ...this.connection }, lastEventId: "0-0" }));
        await events.waitUntilReady();
        return events;
    }

    flows() {
        return this.#keep(new FlowProducer({ connection: { ...this.connection } }));
    }

    #keep(part) {
        part.on("error", () => {});
        this.all.push(part);
        return part;
    }

    async close() {
        for (const part of this.all.reverse()) {
            await inTime(part.close(part instanceof Worker), "the end of a worker or queue");
        }
    }
}

/** A claim whose body is given its parts. */
function claimWith(text, body) {
    claim(text, async () => {
        const parts = new Parts();
        try {
            await body(parts);
        } finally {
            await parts.close();
        }
    });
}

const counts = (queue) => queue.getJobCounts("waiting", "active", "delayed", "prioritized", "waiting-children", "failed", "completed");
const none = { waiting: 0, active: 0, delayed: 0, prioritized: 0, "waiting-children": 0, failed: 0, completed: 0 };

/** Resolves when so many jobs are completed. */
const completed = (queue, count) => waitUntil(async () => (await queue.getCompletedCount()) >= count, `${count} jobs are completed`);

claimWith("jobs are worked off in order and leave their results", async (parts) => {
    const queue = parts.queue();
    const first = await queue.add("one", { text: "å" });
    await queue.addBulk(Array.from({ length: 100 }, (_, number) => ({ name: "many", data: { number } })));
    await queue.add("early", {}, { lifo: true });
    assert.deepEqual(await counts(queue), { ...none, waiting: 102 });
    const order = [];
    parts.worker(async (job) => {
        order.push(job.name === "many" ? job.data.number : job.name);
        await job.updateProgress({ half: true });
        await job.log(`seen ${job.name}`);
        await job.updateData({ ...job.data, done: true });
        return { name: job.name };
    });
    await completed(queue, 102);
    assert.deepEqual(order, ["early", "one", ...Array.from({ length: 100 }, (_, number) => number)]);
    const job = await queue.getJob(first.id);
    assert.deepEqual([job.returnvalue, job.data, job.progress], [{ name: "one" }, { text: "å", done: true }, { half: true }]);
    assert.deepEqual((await queue.getJobLogs(first.id)).logs, ["seen one"]);
    assert.deepEqual([await job.getState(), job.attemptsMade], ["completed", 1]);
    assert.ok(job.timestamp <= job.processedOn && job.processedOn <= job.finishedOn);
    // The last two; those that have ended in the same millisecond are in the order of their names.
    assert.deepEqual((await queue.getCompleted(0, 1)).map((one) => one.finishedOn >= job.finishedOn), [true, true]);
    assert.deepEqual(await counts(queue), { ...none, completed: 102 });
});

claimWith("many workers do each job once", async (parts) => {
    const [queue, jobs, done] = [parts.queue(), 1000, []];
    await queue.addBulk(Array.from({ length: jobs }, (_, number) => ({ name: "job", data: number })));
    for (let number = 0; number < 4; number += 1) {
        parts.worker(async (job) => done.push(job.data), { concurrency: 10 });
    }
    await completed(queue, jobs);
    assert.deepEqual(done.sort((a, b) => a - b), Array.from({ length: jobs }, (_, number) => number));
    await queue.trimEvents(50);
    const left = await connect().xlen(`bull:${queue.name}:events`);
    assert.ok(left >= 50 && left < jobs, `${left} events are left`);
});

claimWith("a job is retried with growing pauses, as often as it may be", async (parts) => {
    const queue = parts.queue();
    const tries = { good: [], bad: [], hopeless: [], own: [] };
    const worker = parts.worker(async (job) => {
        tries[job.name].push(Date.now());
        if (job.name === "hopeless") {
            throw new UnrecoverableError("never");
        }
        if (job.name === "bad" || job.attemptsMade < 2) {
            throw new Error(`not yet ${job.attemptsMade}`);
        }
        return "at last";
    }, { settings: { backoffStrategy: (attempts) => 10 * attempts } });
    const good = await queue.add("good", {}, { attempts: 4, backoff: { type: "exponential", delay: 50 } });
    const bad = await queue.add("bad", {}, { attempts: 3, backoff: { type: "fixed", delay: 20 } });
    const hopeless = await queue.add("hopeless", {}, { attempts: 5 });
    await queue.add("own", {}, { attempts: 3, backoff: { type: "custom" } });
    await waitUntil(async () => (await queue.getFailedCount()) === 2 && (await queue.getCompletedCount()) === 2, "all have ended");
    assert.deepEqual(Object.values(tries).map((times) => times.length), [3, 3, 1, 3]);
    const pauses = tries.good.slice(1).map((time, i) => time - tries.good[i]);
    assert.ok(pauses[0] >= 49 && pauses[1] >= 99, `${pauses}`);
    const [ended, failed] = [await queue.getJob(good.id), await queue.getJob(bad.id)];
    assert.deepEqual([ended.returnvalue, ended.attemptsMade, ended.stacktrace.length], ["at last", 3, 2]);
    assert.deepEqual([failed.failedReason, failed.attemptsMade, failed.stacktrace.length], ["not yet 2", 3, 3]);
    assert.equal((await queue.getJob(hopeless.id)).failedReason, "never");
    // What has failed for good can be had again.
    tries.bad.length = 0;
    await worker.pause();
    await failed.retry();
    assert.equal(await failed.getState(), "waiting");
    worker.resume();
    await waitUntil(() => tries.bad.length > 0, "it is tried again");
});

claimWith("delayed jobs come when their time has come, and not before", async (parts) => {
    const queue = parts.queue();
    const seen = {};
    const began = Date.now();
    await queue.add("third", {}, { delay: 500 });
    await queue.add("second", {}, { delay: 300 });
    await queue.add("first", {});
    const late = await queue.add("late", {}, { delay: 3_600_000 });
    const moved = await queue.add("moved", {}, { delay: 3_600_000 });
    const promoted = await queue.add("promoted", {}, { delay: 3_600_000 });
    assert.equal(await queue.getDelayedCount(), 5);
    parts.worker(async (job) => {
        seen[job.name] = Date.now() - began;
    });
    await moved.changeDelay(400);
    await promoted.promote();
    await completed(queue, 5);
    assert.deepEqual(Object.keys(seen).filter((name) => name !== "promoted"), ["first", "second", "moved", "third"]);
    assert.ok(seen.second >= 299 && seen.third >= 499 && seen.moved >= 399, JSON.stringify(seen));
    assert.deepEqual((await queue.getDelayed()).map((job) => job.id), [late.id]);
    await late.remove();
    assert.deepEqual(await counts(queue), { ...none, completed: 5 });
});

claimWith("a schedule makes its jobs, one after the other, until it is taken away", async (parts) => {
    const queue = parts.queue();
    const times = { often: [], cron: [], few: [] };
    await queue.upsertJobScheduler("often", { every: 100 }, { name: "often", data: { from: "schedule" } });
    await queue.upsertJobScheduler("cron", { pattern: "* * * * * *" }, { name: "cron" });
    await queue.upsertJobScheduler("few", { every: 50, limit: 3 }, { name: "few" });
    parts.worker(async (job) => times[job.name].push(Date.now()), { concurrency: 3 });
    await waitUntil(() => times.often.length >= 6 && times.cron.length >= 2 && times.few.length >= 3, "all have come often enough");
    const schedulers = await queue.getJobSchedulers();
    assert.deepEqual(schedulers.map(({ key }) => key).filter((id) => id !== "few").sort(), ["cron", "often"]);
    assert.equal((await queue.getJobScheduler("often")).every, 100);
    // Each comes at its own multiple of the interval.
    assert.ok(times.often.at(-1) - times.often[0] >= (times.often.length - 2) * 100 - 20, `${times.often}`);
    await queue.upsertJobScheduler("often", { every: 3_600_000 }, { name: "often" });
    assert.equal(await queue.getJobSchedulersCount(), (await queue.getJobSchedulers()).length);
    assert.equal(await queue.removeJobScheduler("cron"), true);
    assert.equal(await queue.removeJobScheduler("cron"), false);
    await queue.removeJobScheduler("often");
    await waitUntil(async () => (await queue.getDelayedCount()) === 0, "no more is planned");
    await sleep(250);
    assert.equal(times.few.length, 3);
});

claimWith("a parent is worked off when its children have been, and knows their results", async (parts) => {
    const [queue, children, flows] = [parts.queue(), parts.queue({}, `${parts.name}-children`), parts.flows()];
    const order = [];
    parts.worker(async (job) => {
        order.push(job.name);
        const values = await job.getChildrenValues();
        return Object.values(values).reduce((sum, value) => sum + value, 0);
    });
    const child = (name, value, opts = {}) => ({ name, data: { value }, queueName: children.name, opts });
    const flow = await flows.add({
        name: "root",
        queueName: queue.name,
        children: [
            child("a", 1),
            child("b", 2, { delay: 100 }),
            { name: "middle", queueName: queue.name, children: [child("c", 10), child("d", 20)] },
        ],
    });
    assert.equal(await flow.job.getState(), "waiting-children");
    assert.equal((await flow.job.getDependencies()).unprocessed.length, 3);
    const broken = await flows.add({
        name: "broken",
        queueName: queue.name,
        children: [child("fails", 0, { failParentOnFailure: true }), child("e", 5)],
    });
    const lenient = await flows.add({
        name: "lenient",
        queueName: queue.name,
        children: [child("fails", 0, { ignoreDependencyOnFailure: true }), child("f", 7)],
    });
    parts.worker(async (job) => {
        if (job.name === "fails") {
            throw new Error("no");
        }
        order.push(job.name);
        return job.data.value;
    }, {}, children.name);
    await waitUntil(async () => (await queue.getCompletedCount()) === 3 && (await queue.getFailedCount()) === 1, "the parents have ended");
    assert.equal((await queue.getJob(flow.job.id)).returnvalue, 33);
    assert.ok(order.indexOf("middle") > order.indexOf("d") && order.indexOf("root") > order.indexOf("middle"), `${order}`);
    assert.equal((await queue.getJob(lenient.job.id)).returnvalue, 7);
    assert.match((await queue.getJob(broken.job.id)).failedReason, /child .* failed/);
    const tree = await flows.getFlow({ id: flow.job.id, queueName: queue.name });
    assert.deepEqual(tree.children.map(({ job }) => job.name).sort(), ["a", "b", "middle"]);
    const bulk = await flows.addBulk([{ name: "x", queueName: queue.name, children: [child("g", 3)] }, { name: "y", queueName: queue.name }]);
    await waitUntil(async () => (await queue.getJob(bulk[0].job.id)).returnvalue === 3, "the bulk is done");
});

claimWith("a higher priority goes first, and those alike in order", async (parts) => {
    const queue = parts.queue();
    const order = [];
    await queue.addBulk([
        ...[5, 1, 3, 1, 5, 2].map((priority, i) => ({ name: `${priority}-${i}`, data: {}, opts: { priority } })),
        { name: "none", data: {} },
    ]);
    const last = await queue.add("last", {}, { priority: 1 });
    await last.changePriority({ priority: 9 });
    assert.deepEqual(await queue.getCountsPerPriority([0, 1, 2, 3, 5, 9]), { 0: 1, 1: 2, 2: 1, 3: 1, 5: 2, 9: 1 });
    parts.worker(async (job) => order.push(job.name));
    await completed(queue, 8);
    assert.deepEqual(order, ["none", "1-1", "1-3", "2-5", "3-2", "5-0", "5-4", "last"]);
});

claimWith("no more jobs are begun in a time than the limit allows, whoever works", async (parts) => {
    const queue = parts.queue();
    const times = [];
    const limiter = { max: 4, duration: 200 };
    await queue.addBulk(Array.from({ length: 14 }, (_, number) => ({ name: "job", data: number })));
    const process = async () => times.push(Date.now());
    parts.worker(process, { limiter, concurrency: 5 });
    parts.worker(process, { limiter, concurrency: 5 });
    await completed(queue, 14);
    assert.equal(times.length, 14);
    // Four in each of the first three windows, so the thirteenth comes in the fourth.
    assert.ok(times[12] - times[0] >= 3 * 200 - 50, `${times.map((time) => time - times[0])}`);
    const other = `${parts.name}-manual`;
    const manual = parts.queue({}, other);
    let limited = 0;
    const worker = parts.worker(async () => {
        if (limited === 0) {
            limited += 1;
            await worker.rateLimit(150);
            throw Worker.RateLimitError();
        }
        return "done";
    }, { limiter: { max: 1, duration: 500 } }, other);
    const job = await manual.add("job", {});
    await completed(manual, 1);
    assert.equal((await manual.getJob(job.id)).attemptsMade, 1);
});

claimWith("what happens to jobs is told in order, and can be waited for", async (parts) => {
    const [queue, events] = [parts.queue(), await parts.events()];
    const told = [];
    for (const event of ["added", "waiting", "active", "progress", "completed", "failed", "delayed", "drained", "removed"]) {
        events.on(event, ({ jobId }) => told.push(jobId ? `${jobId} ${event}` : event));
    }
    const good = await queue.add("good", { n: 20 });
    const bad = await queue.add("bad", {}, { attempts: 2, backoff: 30 });
    parts.worker(async (job) => {
        if (job.name === "bad") {
            throw new Error("as expected");
        }
        await job.updateProgress(50);
        return job.data.n + 1;
    });
    assert.equal(await inTime(good.waitUntilFinished(events), "the good one"), 21);
    await assert.rejects(inTime(bad.waitUntilFinished(events), "the bad one"), /as expected/);
    await good.remove();
    await waitUntil(() => told.includes(`${good.id} removed`), "the removal is told");
    const of = (job) => told.filter((text) => text.startsWith(`${job.id} `)).map((text) => text.split(" ")[1]);
    assert.deepEqual(of(good), ["added", "waiting", "active", "progress", "completed", "removed"]);
    assert.deepEqual(of(bad), ["added", "waiting", "active", "delayed", "waiting", "active", "failed"]);
    assert.ok(told.includes("drained"));
});

claimWith("queues are paused, drained, cleaned and forgotten; doubles are not added", async (parts) => {
    const queue = parts.queue();
    let done = 0;
    await queue.pause();
    parts.worker(async (job) => {
        done += 1;
        if (job.name === "fail") {
            throw new Error("no");
        }
    });
    await queue.addBulk([...Array(20)].map((_, number) => ({ name: number % 4 ? "job" : "fail", data: {} })));
    const [one, same] = [await queue.add("id", {}, { jobId: "mine" }), await queue.add("id", {}, { jobId: "mine" })];
    assert.equal(one.id, same.id);
    const first = await queue.add("dedup", {}, { deduplication: { id: "d", ttl: 60_000 } });
    const second = await queue.add("dedup", {}, { deduplication: { id: "d", ttl: 60_000 } });
    assert.equal(second.id, first.id);
    assert.equal(await queue.getDeduplicationJobId("d"), first.id);
    assert.equal(await queue.removeDeduplicationKey("d"), 1);
    await sleep(100);
    assert.deepEqual([done, await queue.isPaused(), await queue.count()], [0, true, 22]);
    await queue.resume();
    await waitUntil(async () => (await queue.getCompletedCount()) === 17 && (await queue.getFailedCount()) === 5, "all have ended");
    assert.equal((await queue.clean(0, 10, "completed")).length, 10);
    assert.equal(await queue.getCompletedCount(), 7);
    await queue.pause();
    await queue.retryJobs({ state: "failed" });
    assert.equal(await queue.count(), 5);
    await queue.add("late", {}, { delay: 100_000 });
    await queue.drain(true);
    assert.equal(await queue.count(), 0);
    await queue.resume();
    for (let i = 0; i < 12; i += 1) {
        await queue.add("kept", {}, { removeOnComplete: { count: 3 } });
    }
    await waitUntil(async () => done === 22 + 12, "the last are done");
    await waitUntil(async () => (await queue.getActiveCount()) === 0, "none is under way");
    assert.ok((await queue.getCompletedCount()) <= 10);
    await parts.all.find((part) => part instanceof Worker).close();
    await queue.obliterate({ force: true });
    assert.deepEqual(await connect().keys(`bull:${queue.name}:*`), []);
});

claimWith("a queue's own limit on what is under way holds for all workers", async (parts) => {
    const queue = parts.queue();
    await queue.setGlobalConcurrency(2);
    let [inside, most] = [0, 0];
    const process = async () => {
        inside += 1;
        most = Math.max(most, inside);
        await sleep(10);
        inside -= 1;
    };
    await queue.addBulk([...Array(20)].map((_, number) => ({ name: "job", data: number })));
    parts.worker(process, { concurrency: 5 });
    parts.worker(process, { concurrency: 5 });
    await completed(queue, 20);
    assert.equal(most, 2);
});

claimWith("a job whose worker has died is begun again by another", async (parts) => {
    const queue = parts.queue();
    let release;
    const held = new Promise((resolve) => {
        release = resolve;
    });
    const options = { lockDuration: 300, stalledInterval: 200, maxStalledCount: 2 };
    const dead = parts.worker(() => held, { ...options, skipLockRenewal: true });
    const job = await queue.add("job", {});
    await waitUntil(async () => (await queue.getActiveCount()) === 1, "it is begun");
    await dead.close(true);
    const stalled = [];
    const worker = parts.worker(async () => "by another", options);
    worker.on("stalled", (id) => stalled.push(id));
    await completed(queue, 1);
    release();
    assert.deepEqual([stalled, (await queue.getJob(job.id)).returnvalue], [[job.id], "by another"]);
});

/** Adds jobs while others work them off and the server is killed again and again; answers what the two sides have seen. */
async function workWhileTheServerIsKilled(server, parts, { producers, kills, concurrency }) {
    const seen = { added: new Set(), begun: new Map(), ended: new Set(), again: [] };
    const options = { concurrency, lockDuration: 1000, stalledInterval: 500, maxStalledCount: 20 };
    for (let number = 0; number < 2; number += 1) {
        const worker = parts.worker(async (job) => {
            if (seen.ended.has(job.id)) {
                seen.again.push(job.id);
            }
            seen.begun.set(job.id, (seen.begun.get(job.id) ?? 0) + 1);
            await sleep(Math.random() * 4);
            return job.id;
        }, options);
        // Told when the server has answered that it is done.
        worker.on("completed", (job) => seen.ended.add(job.id));
    }
    const queue = parts.queue();
    let [number, over] = [0, false];
    const produce = async () => {
        while (!over) {
            const name = `job-${(number += 1)}`;
            await queue.add("job", { name }, { jobId: name, ...(number % 5 === 0 ? { delay: 50 } : {}) });
            seen.added.add(name);
            await sleep(1);
        }
    };
    const producing = Array.from({ length: producers }, produce);
    for (let kill = 0; kill < kills; kill += 1) {
        const [added, ended] = [seen.added.size, seen.ended.size];
        await waitUntil(() => seen.added.size > added + 150 && seen.ended.size > ended + 100, "adding and working go on");
        await server.kill();
        await server.startAgain();
    }
    over = true;
    await inTime(Promise.all(producing), "the last to be added");
    await waitUntil(async () => (await queue.getCompletedCount()) >= seen.added.size, "all are done");
    return { queue, seen };
}

claim("kill -9 loses no job, and does none again that was answered for", async () => {
    const server = await OwnServer.start();
    const parts = new Parts({ host: "127.0.0.1", port: server.port, retryStrategy: () => 20, maxRetriesPerRequest: null });
    const load = { producers: 3, kills: 3, concurrency: 5 };
    try {
        const { queue, seen } = await workWhileTheServerIsKilled(server, parts, load);
        const all = new Set((await queue.getCompleted(0, -1)).map((job) => job.id));
        assert.deepEqual([...seen.added].filter((id) => !all.has(id)), []);
        assert.deepEqual([...seen.added].filter((id) => !seen.begun.has(id)), []);
        assert.deepEqual(await counts(queue), { ...none, completed: all.size });
        assert.deepEqual(seen.again, []);
        // Begun twice is only what was under way at a kill: as many as two workers hold, and one each that they were fetching.
        const twice = [...seen.begun.values()].reduce((sum, times) => sum + times - 1, 0);
        assert.ok(twice <= load.kills * 2 * (load.concurrency + 1), `${twice} begun twice`);
        assert.ok([...all].every((id) => seen.begun.has(id)));
    } finally {
        await parts.close();
        await server.stop();
    }
});

await run();
