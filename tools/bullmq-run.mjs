// Adds jobs to a queue of BullMQ and works them off; prints how long the two took as JSON. For tools/measure-messages.
//
//     node tools/bullmq-run.mjs PORT JOBS

import { createRequire } from "node:module";

const { Queue, Worker } = createRequire(import.meta.url)("bullmq");
const [port, jobs] = process.argv.slice(2).map(Number);
const AT_ONCE = 100;
const CONCURRENCY = 50;

const connection = { host: "127.0.0.1", port };
const name = `run-${process.pid}-${Date.now()}`;
const queue = new Queue(name, { connection });
await queue.waitUntilReady();

const began = performance.now();
for (let number = 0; number < jobs; number += AT_ONCE) {
    const count = Math.min(AT_ONCE, jobs - number);
    await Promise.all(Array.from({ length: count }, (_, i) => queue.add("job", { number: number + i }, { removeOnComplete: 1000 })));
}
const added = performance.now();
await new Promise((resolve, reject) => {
    let done = 0;
    const worker = new Worker(name, async (job) => job.data.number, { connection, concurrency: CONCURRENCY });
    worker.on("error", reject);
    worker.on("completed", () => {
        done += 1;
        if (done === jobs) {
            resolve();
        }
    });
});
const ended = performance.now();
console.log(JSON.stringify({ add_s: (added - began) / 1000, process_s: (ended - added) / 1000 }));
process.exit(0);
