import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { Redis } from "ioredis";

import { eventually } from "./deadline.ts";
import { PACKAGE } from "./paths.ts";
import { RedisServer } from "./redis_server.ts";
import { COMMANDS } from "./service_process.ts";

const STREAM = "joelclaw:bridge:{triage}:deliveries";
const LEASE = "joelclaw:bridge:{triage}:outlet";
const CONTRACT = "joelclaw:bridge:{triage}:contract"; // a gateway's first word
const LEASE_MS = 600;
const LONG_MS = 60_000;

/** The program of `deliver_process.ts`, which says what it begins and what it took. */
class Receiver {
  readonly said: Array<Record<string, unknown>> = [];
  readonly lines: string[] = [];
  readonly exited: Promise<number | null>;
  readonly #process: ChildProcess;

  constructor(runtime: string, redisUrl: string, leaseMs: number, env: Record<string, string>) {
    const [command] = COMMANDS[runtime] as [string];
    const file =
      runtime === "node"
        ? join(PACKAGE, "test", "dist", "test", "deliver_process.js")
        : join(PACKAGE, "test", "deliver_process.ts");
    this.#process = spawn(command, [file], {
      stdio: "pipe",
      env: { ...process.env, BRIDGE_REDIS_URL: redisUrl, LEASE_MS: String(leaseMs), ...env },
    });
    let text = "";
    this.#process.stdout?.setEncoding("utf8").on("data", (more: string) => {
      const whole = (text + more).split("\n");
      text = whole.pop() as string;
      this.said.push(...whole.map((line) => JSON.parse(line) as Record<string, unknown>));
    });
    this.#process.stderr?.setEncoding("utf8").on("data", (more: string) => {
      this.lines.push(...more.split("\n").filter((line) => line !== ""));
    });
    this.exited = once(this.#process, "exit").then(([code]) => code as number | null);
  }

  get taken(): unknown[] {
    return this.said.flatMap(({ taken }) => (taken === undefined ? [] : [taken]));
  }

  get begun(): unknown[] {
    return this.said.flatMap(({ begun }) => (begun === undefined ? [] : [begun]));
  }

  async began(id: string, attempt: number): Promise<void> {
    const what = `${id} is begun for the ${attempt}. time`;
    await eventually(what, () => this.said.some((s) => s["begun"] === id && s["attempt"] === attempt));
  }

  async took(...ids: string[]): Promise<void> {
    await eventually(`${ids.join(", ")} are taken`, () => this.taken.length >= ids.length);
    assert.deepEqual(this.taken, ids);
  }

  go(): void {
    this.#process.stdin?.write("go\n");
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  async kill9(): Promise<void> {
    this.signal("SIGKILL");
    await this.exited;
  }
}

for (const runtime of Object.keys(COMMANDS)) {
  describe(`deliver under ${runtime}`, () => {
    let server: RedisServer;
    let redis: Redis;
    let started: Receiver[] = [];
    let emitted = 0;

    beforeEach(() => redis.set(CONTRACT, "any"));

    const start = (leaseMs = LEASE_MS, env: Record<string, string> = {}): Receiver => {
      const receiver = new Receiver(runtime, server.url, leaseMs, env);
      started.push(receiver);
      return receiver;
    };

    /** Put events in line, as a commit does, and return their ids. */
    const emit = async (...prompts: string[]): Promise<string[]> => {
      const ids = [];
      for (const prompt of prompts) {
        const id = `m${emitted++}/1`;
        const event = {
          specversion: "1.0",
          id,
          source: "/bridge/triage",
          type: "triage.prompt",
          subject: "gateway",
          time: "2026-11-26T00:00:00.000Z",
          datacontenttype: "application/json",
          data: { prompt, event_ids: ["é"] },
          seq: emitted,
          n: 1,
        };
        await redis.xadd(STREAM, "*", "event", JSON.stringify(event));
        ids.push(id);
      }
      return ids;
    };
    const left = (): Promise<number> => redis.xlen(STREAM);
    const delivered = async (): Promise<void> => {
      await eventually("everything is delivered", async () => (await left()) === 0);
    };

    before(async () => {
      server = await RedisServer.start();
      redis = new Redis(server.url, { protocol: 2, maxRetriesPerRequest: null });
      redis.on("error", () => {}); // tests kill Redis
    });
    afterEach(async () => {
      await Promise.all(started.map((receiver) => receiver.kill9()));
      started = [];
      await redis.flushall();
    });
    after(async () => {
      redis.disconnect();
      await server.close();
    });

    test("takes what waits and then what comes, in order, with all that it is", async () => {
      const ids = await emit("a", "b");
      const receiver = start();
      await receiver.took(...ids);
      ids.push(...(await emit(...Array.from({ length: 30 }, (_, n) => `c${n}`))));
      await receiver.took(...ids);
      await delivered();
      assert.deepEqual(receiver.said[0], {
        begun: ids[0],
        id: ids[0],
        type: "triage.prompt",
        key: "gateway",
        seq: emitted - 31,
        n: 1,
        payload: { prompt: "a", event_ids: ["é"] },
        attempt: 1,
      });
      // The stream is empty.
      assert.deepEqual((await redis.keys("*")).sort(), [CONTRACT, STREAM, LEASE]);
    });

    test("calls again what failed, and nothing else before", async () => {
      const [bad, good] = (await emit("fail 2", "b")) as [string, string];
      const receiver = start();
      await receiver.took(bad, good);
      assert.deepEqual(receiver.begun, [bad, bad, bad, good]);
      const text = receiver.lines.find((line) => line.startsWith(bad)) as string;
      assert.match(text, /^m\d+\/1: attempt 1 of 8: Error: no 1; again in 1 ms$/);
    });

    test("puts aside what failed eight times, for `bridge quarantine`", async () => {
      const [bad, good] = (await emit("fail", "b")) as [string, string];
      const [[, [, raw]]] = (await redis.xrange(STREAM, "-", "+")) as [[string, [string, string]]];
      const receiver = start();
      await receiver.took(good);
      assert.deepEqual(receiver.begun, [...Array<string>(8).fill(bad), good]);
      const records = await redis.hgetall("joelclaw:bridge:quarantine");
      const { at_ms, ...record } = JSON.parse(records[bad] as string) as { at_ms: number };
      assert.deepEqual(record, {
        id: bad,
        source: "deliveries",
        code: "runtime_fault",
        message: "not delivered in 8 attempts: Error: no 8",
        detail: { subsystem: "triage", attempts: 8 },
        raw,
      });
      const times = await redis.zrange("joelclaw:bridge:quarantine:times", "0", "-1", "WITHSCORES");
      assert.deepEqual(times, [bad, String(at_ms)]);
      await delivered();
    });

    test("takes over from a process that was killed with a delivery in hand", async () => {
      const [first, second] = (await emit("gate", "b")) as [string, string];
      const killed = start(6000); // as it is unless set
      await killed.began(first, 1);
      const other = start(6000);
      await eventually("it stands by", () => other.lines.some((l) => l.includes("standing by")));
      await killed.kill9();
      const since = performance.now();
      await other.began(first, 2);
      assert.ok(performance.now() - since < 10_000);
      other.go();
      await other.took(first, second);
    });

    test("keeps its lease for as long as a call takes", async () => {
      const [id] = (await emit("gate")) as [string];
      const receiver = start();
      await receiver.began(id, 1);
      const other = start();
      await eventually("it stands by", () => other.lines.some((l) => l.includes("standing by")));
      await pause(3 * LEASE_MS); // both ask several times; nothing happens that could be waited for
      assert.deepEqual(other.said, []);
      receiver.go();
      await receiver.took(id);
      await delivered();
    });

    test("takes nothing out of the hand of who has it now, after it stood still", async () => {
      const [id, next] = (await emit("gate", "b")) as [string, string];
      const stopped = start();
      await stopped.began(id, 1);
      stopped.signal("SIGSTOP");
      const other = start();
      await other.began(id, 2);
      stopped.signal("SIGCONT");
      stopped.go();
      await stopped.took(id);
      await eventually("it says so", () => stopped.lines.some((l) => l.includes("come again")));
      assert.equal(await left(), 2);
      assert.deepEqual(stopped.begun, [id]);
      other.go();
      await other.took(id, next);
      await delivered();
    });

    test("survives a killed Redis, and tells it afterwards what was taken meanwhile", async () => {
      const [id] = (await emit("gate")) as [string];
      const receiver = start(LONG_MS);
      await receiver.began(id, 1);
      const before = receiver.lines.length;
      await server.kill9();
      await eventually("a line", () => receiver.lines.length > before);
      receiver.go();
      await receiver.took(id);
      await server.restart();
      await delivered();
      const [next] = (await emit("b")) as [string];
      await receiver.took(id, next);
      assert.deepEqual(receiver.begun, [id, next]);
      assert.equal(receiver.lines.length, before + 2, receiver.lines.join("\n"));
    });

    test("writes nothing to a Redis no gateway has announced itself at, and says so", async () => {
      await redis.del(CONTRACT);
      const receiver = start();
      await eventually("a line", () => receiver.lines.some((l) => /no gateway has/.test(l)));
      const key = "joelclaw:events:gateway";
      await redis.rpush(key, "another's");
      await pause(LEASE_MS); // it may write nothing; nothing happens that could be waited for
      assert.deepEqual(await redis.keys("*"), [key]);
      await redis.set(CONTRACT, "any");
      const ids = await emit("a");
      await receiver.took(...ids);
    });

    test("keeps its connection with a lease of minutes", async () => {
      const receiver = start(120_000);
      await eventually("a lease", async () => (await redis.get(LEASE)) !== null);
      await pause(11_000); // longer than a Redis may be silent; nothing must happen
      assert.equal(receiver.lines.length, 1, receiver.lines.join("\n"));
      await receiver.took(...(await emit("a")));
    });

    test("says nothing alarming of its own end", async () => {
      const receiver = start();
      await eventually("a lease", async () => (await redis.get(LEASE)) !== null);
      receiver.signal("SIGTERM");
      assert.equal(await receiver.exited, 0);
      assert.equal(receiver.lines.length, 1, receiver.lines.join("\n"));
    });

    test("ends on close in time although its receiver does not", async () => {
      const [id] = (await emit("gate")) as [string];
      const closing = start(LONG_MS, { CLOSE_MS: "50" });
      await closing.began(id, 1);
      closing.signal("SIGTERM");
      assert.equal(await closing.exited, 0);
      assert.match(closing.lines.join("\n"), /the receiver still runs 50 ms after close/);
      await start(LONG_MS).began(id, 2);
    });

    test("logs what a receiver threw with its stack and cause", async () => {
      await emit("fail 1");
      const receiver = start();
      const log = (): string => receiver.lines.join("\n");
      await eventually("the cause", () => log().includes("[cause]: Error: why"));
      assert.match(log(), /attempt 1 of 8: Error: no 1; again in \d+ ms\nError: no 1\n +at /);
    });

    test("starts without Redis, and begins when there is one", async () => {
      const [id] = (await emit("a")) as [string];
      await server.kill9();
      const receiver = start();
      await eventually("a line", () => receiver.lines.length > 0);
      await server.restart();
      await receiver.took(id);
    });

    test("ends on close after the call that runs, and lets the next begin at once", async () => {
      const [id, next] = (await emit("gate", "b")) as [string, string];
      const closing = start(LONG_MS);
      await closing.began(id, 1);
      closing.signal("SIGTERM");
      await pause(100); // it must not end yet; nothing happens that could be waited for
      closing.go();
      assert.equal(await closing.exited, 0);
      assert.deepEqual([closing.begun, await redis.get(LEASE)], [[id], null]);
      await start(LONG_MS).took(next);
    });

    test("does not count an attempt that its closing cut short", async () => {
      const [id] = (await emit("heed")) as [string];
      const closing = start(LONG_MS);
      await closing.began(id, 1);
      closing.signal("SIGTERM");
      assert.equal(await closing.exited, 0);
      await start(LONG_MS).began(id, 1);
    });

    test("counts an attempt that its process did not survive", async () => {
      const [id] = (await emit("exit")) as [string];
      const dying = start();
      assert.equal(await dying.exited, 1);
      const other = start();
      await other.began(id, 2);
      await other.took(id);
    });

    test("ends on close also while Redis is gone", async () => {
      const receiver = start();
      await eventually("a lease", async () => (await redis.get(LEASE)) !== null);
      await server.kill9();
      receiver.signal("SIGTERM");
      assert.equal(await receiver.exited, 0);
      await server.restart();
    });
  });
}
