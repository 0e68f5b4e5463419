// What the flows in JavaScript share, as flow.py is what those in Python share: connections, keys of their own, claims.
//
// A flow calls `claim(text, body)` for each claim and `await run()` at its end. A claim holds if its body ends well; the process
// exits non-zero if one does not. Packages are found by NODE_PATH, which tools/test-clients sets. The server is the one at
// TUFF_HOST and TUFF_PORT; nothing in it is ever flushed.

import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer, connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const require = createRequire(import.meta.url);
export const { Redis } = require("ioredis");

/** How long anything that must happen may take. */
export const WAIT_MS = 30_000;
const CLAIM_MS = 4 * WAIT_MS;
export const host = process.env.TUFF_HOST ?? "127.0.0.1";
export const port = Number(process.env.TUFF_PORT ?? 6379);

const started = `${process.pid}-${Date.now()}`;
const claims = [];
const clients = [];
let keys = 0;

/** A client that is closed at the end of its claim. What goes wrong with its connection is seen by its commands. */
export function connect(options = {}) {
    const client = new Redis({ host, port, maxRetriesPerRequest: null, ...options });
    client.on("error", () => {});
    clients.push(client);
    return client;
}

/** A new key that nobody else uses, in this run or another. */
export function key(name) {
    keys += 1;
    return `${name}:${started}-${keys}`;
}

export function claim(text, body) {
    claims.push({ text, body });
}

export function sleep(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves when `condition()` is true or resolves to true; fails if it does not become so. */
export async function waitUntil(condition, what) {
    const limit = Date.now() + WAIT_MS;
    while (!(await condition())) {
        if (Date.now() > limit) {
            throw new Error(`waited ${WAIT_MS / 1000} s in vain until ${what}`);
        }
        await sleep(5);
    }
}

/** The promise's result, or an error if it takes too long. */
export async function inTime(promise, what, ms = WAIT_MS) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`waited ${ms / 1000} s in vain for ${what}`)), ms);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A server of the caller's own, which loses nothing that it has answered. */
export class OwnServer {
    static async start() {
        const server = new OwnServer();
        server.folder = mkdtempSync(join(tmpdir(), "tuff-node-"));
        server.log = join(server.folder, "log");
        server.port = await freePort();
        await server.startAgain();
        return server;
    }

    /** Starts it in the same folder and on the same port; resolves when it answers. */
    async startAgain() {
        const words = process.env.TUFF_SERVER.replaceAll("{port}", this.port).replaceAll("{dir}", this.folder);
        const output = openSync(this.log, "a");
        const command = `exec ${words} --appendonly yes --appendfsync always`;
        this.process = spawn("sh", ["-c", command], { stdio: ["ignore", output, output] });
        this.ended = new Promise((resolve) => this.process.once("exit", resolve));
        await waitUntil(() => this.#answers(), "the server answers");
    }

    /** kill -9. */
    async kill() {
        this.process.kill("SIGKILL");
        await this.ended;
    }

    async stop() {
        await this.kill();
        rmSync(this.folder, { recursive: true, force: true });
    }

    #answers() {
        if (this.process.exitCode !== null || this.process.signalCode !== null) {
            throw new Error(`the server has ended: ${readFileSync(this.log, "utf8").slice(-4000)}`);
        }
        return new Promise((resolve) => {
            const socket = connectSocket(this.port, "127.0.0.1", () => socket.write("PING\r\n"));
            socket.on("data", (bytes) => {
                resolve(bytes.toString().startsWith("+PONG"));
                socket.destroy();
            });
            socket.on("error", () => resolve(false));
            socket.on("close", () => resolve(false));
        });
    }
}

function freePort() {
    return new Promise((resolve, reject) => {
        const listener = createServer();
        listener.on("error", reject);
        listener.listen(0, "127.0.0.1", () => {
            const { port } = listener.address();
            listener.close(() => resolve(port));
        });
    });
}

/** Checks all claims in order, or those whose text holds the word on the command line. */
export async function run() {
    let failures = 0;
    process.on("unhandledRejection", (error) => {
        failures += 1;
        console.log(`  FAILED  somewhere\n${error.stack ?? error}`);
    });
    for (const { text, body } of claims.filter(({ text }) => text.includes(process.argv[2] ?? ""))) {
        try {
            await inTime(body(), "its end", CLAIM_MS);
            console.log(`  ok      ${text}`);
        } catch (error) {
            failures += 1;
            console.log(`  FAILED  ${text}\n${error.stack ?? error}`);
        }
        clients.splice(0).forEach((client) => client.disconnect());
    }
    process.exit(failures ? 1 : 0);
}
