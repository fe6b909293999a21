import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { contractOf } from "../src/contract.ts";
import { forgetDead, keysOf } from "../src/presence.ts";
import { builtIn } from "./contracts.ts";
import { eventually } from "./deadline.ts";
import { Gateway, requestsOf, type Question } from "./gateway.ts";
import { TEST_SUBSYSTEMS } from "./paths.ts";
import { RedisServer, redisServers } from "./redis_server.ts";
import { COMMANDS, ServiceProcess } from "./service_process.ts";

const COUNTER = contractOf(readFileSync(join(TEST_SUBSYSTEMS, "counter", "subsystem.json"))).digest;
const HEARTBEAT = builtIn("heartbeat").digest;
const DIGESTS = { counter: COUNTER, heartbeat: HEARTBEAT };
const EMPTY = { total: 0, log: [], pad: "" };
const QUERY = { kind: "query" } as const;
const GROUP = "typescript";
const LEASE_MS = 3000;

function counter(operation: string, request = {}, more: Partial<Question> = {}): Question {
  return { subsystem: "counter", operation, request, state: EMPTY, digest: COUNTER, ...more };
}

const runtimes = Object.keys(COMMANDS);
const [newest = "", ...others] = redisServers();
const here = [
  ...runtimes.map((runtime) => [runtime, newest] as const),
  ...others.map((program) => [runtimes[0] as string, program] as const),
];
describe("on every server here", { concurrency: true }, () => {
  for (const [runtime, program] of here) {
    describe(`the service under ${runtime} with ${program}`, { concurrency: 1 }, () => {
      let redis: RedisServer;
      let gateway: Gateway;
      let started: ServiceProcess[] = [];

      const start = (env?: Record<string, string>): ServiceProcess => {
        const service = new ServiceProcess(runtime, redis.url, env);
        started.push(service);
        return service;
      };

      before(async () => {
        redis = await RedisServer.start(program);
        gateway = new Gateway(redis.url);
      });
      beforeEach(() => gateway.announce(DIGESTS));
      afterEach(async () => {
        await Promise.all(started.map((service) => service.kill9()));
        started = [];
        await gateway.redis.flushall();
      });
      after(async () => {
        gateway.redis.disconnect();
        await redis.close();
      });

      test("answers a command with reply, effects and state", async () => {
        const service = start();
        assert.deepEqual(
          await gateway
            .ask(counter("add", { n: 2, tag: "a" }))
            .then(({ invocation: _, ...t }) => t),
          {
            ok: {
              reply: { total: 2 },
              effects: [
                {
                  effect: "emit",
                  type: "counter.added",
                  payload: { n: 2, total: 2, tag: "a" },
                },
              ],
              state: { total: 2, log: ["a"], pad: "" },
            },
          },
        );
        const { host } = new URL(redis.url);
        assert.deepEqual(service.lines, [`bridge-typescript: Redis at ${host} answers`]);
      });

      test("leaves nothing in the stream of what it answered", async () => {
        start();
        await gateway.ask(counter("total", {}, QUERY));
        await eventually("an empty stream", async () => {
          return (await gateway.redis.xlen(requestsOf("counter"))) === 0;
        });
        const pending = (await gateway.redis.xpending(requestsOf("counter"), GROUP)) as [number];
        assert.equal(pending[0], 0);
      });

      test("faults of one subsystem leave the others alone", async () => {
        start();
        const fail = async (how: string): Promise<object> => {
          const { invocation: _, ...told } = await gateway.ask(counter("fail", { how }));
          return told;
        };
        assert.deepEqual(await fail("refuse"), {
          refused: { reason: "no", message: "told to refuse", detail: { how: "refuse" } },
        });
        const { fault } = (await fail("crash")) as { fault: { kind: string; message: string } };
        assert.equal(fault.kind, "crashed");
        const line = /^counter\.fail threw Error: crashed on demand \(counter\.ts:\d+\)$/;
        assert.match(fault.message, line);
        // What is off the contract is for the gateway to judge.
        assert.deepEqual(await fail("bad_reply"), {
          ok: { reply: "not an object", effects: [], state: EMPTY },
        });
        const { ok } = (await gateway.ask({
          subsystem: "heartbeat",
          operation: "status",
          kind: "query",
          state: { every_ms: 0, min_gap_ms: 5, profile: "early", last_ms: 7, runs: 1, skipped: 0 },
          digest: HEARTBEAT,
        })) as { ok: unknown };
        assert.deepEqual(ok, { reply: { last_ms: 7, next_ms: 12, runs: 1, skipped: 0 } });
      });

      test("ends a handler that loops, and keeps its lease meanwhile", async () => {
        start();
        await gateway.joined("counter", 1);
        const loops = await Promise.all(
          Array.from({ length: 16 }, () => gateway.send(counter("fail", { how: "loop" }))),
        );
        const total = await gateway.send(counter("total", {}, QUERY));
        const answers = await gateway.answers([...loops, total]);
        for (const { fault } of answers.slice(0, -1) as Array<{ fault: unknown }>) {
          assert.deepEqual(fault, {
            kind: "timeout",
            message: "counter.fail computed for more than 250 ms",
          });
        }
        assert.deepEqual((answers.at(-1) as { ok: unknown }).ok, {
          reply: { total: 0, log_length: 0 },
        });
        assert.equal((await gateway.live("counter")).length, 1);
      });

      test("refuses a request made for another contract", async () => {
        start();
        const { fault } = (await gateway.ask(counter("total", {}, { kind: "query", digest: "f".repeat(64) }))) as {
          fault: { kind: string };
        };
        assert.equal(fault.kind, "digest_mismatch");
      });

      test("is refused until the gateway's contract is its own", async () => {
        const key = "joelclaw:bridge:{counter}:contract";
        await gateway.redis.set(key, "f".repeat(64));
        const service = start();
        await gateway.joined("heartbeat", 1);
        const line = await eventually("a line", () => service.lines.find((l) => /refused/.test(l)));
        assert.equal(
          line,
          `bridge-typescript: counter: refused: built from contract ${COUNTER}, ` +
            `the gateway has ${"f".repeat(64)}`,
        );
        assert.deepEqual(await gateway.live("counter"), []);
        await gateway.redis.set(key, COUNTER);
        await gateway.joined("counter", 1);
      });

      test("drops what is no invocation, and what nobody waits for any more", async () => {
        await gateway.write("counter", "{");
        await gateway.write("counter", JSON.stringify({ data: {}, replyto: "elsewhere" }));
        const late = await gateway.send(counter("total", {}, { kind: "query", timeoutMs: 1 }));
        start();
        const { invocation } = await gateway.ask(counter("total", {}, QUERY));
        assert.notEqual(invocation, late);
        await eventually("an empty stream", async () => {
          return (await gateway.redis.xlen(requestsOf("counter"))) === 0;
        });
      });

      test("takes over what a dead consumer left", async () => {
        const dead = await readBy("dead", [await gateway.send(counter("total", {}, QUERY))]);
        start();
        assert.deepEqual(
          (await gateway.answers(dead)).map((answer) => "ok" in answer),
          [true],
        );
      });

      test("takes over what is left, also when some of it was deleted", async () => {
        const ids = [];
        for (let n = 0; n < 100; n++) ids.push(await gateway.send(counter("total", {}, QUERY)));
        await readBy("dead", ids);
        const stream = requestsOf("counter");
        const sent = (await gateway.redis.xrange(stream, "-", "+")).map(([id]) => id);
        await gateway.redis.xdel(stream, ...sent.slice(0, 70));
        start();
        const answers = await gateway.answers(ids.slice(70));
        assert.deepEqual(
          answers.filter((answer) => "ok" in answer).length,
          30,
        );
        await eventually("nothing pending", async () => {
          const [pending] = (await gateway.redis.xpending(stream, GROUP)) as [number];
          return pending === 0;
        });
      });

      test("forgets dead consumers that have nothing pending, and no others", async () => {
        await readBy("pending", [await gateway.send(counter("total", {}, QUERY))]);
        const stream = requestsOf("counter");
        await gateway.redis.xgroup("CREATECONSUMER", stream, GROUP, "idle");
        const keys = keysOf("counter");
        const left = async (): Promise<unknown[]> => {
          const consumers = (await gateway.redis.xinfo("CONSUMERS", stream, GROUP)) as unknown[][];
          return consumers.map((consumer) => consumer[1]);
        };
        assert.equal(await forgetDead(gateway.redis, keys, GROUP, 60_000), 0);
        await gateway.redis.zadd(keys.presence, "+inf", `idle ${COUNTER}`);
        assert.equal(await forgetDead(gateway.redis, keys, GROUP, 0), 0);
        await gateway.redis.del(keys.presence);
        assert.equal(await forgetDead(gateway.redis, keys, GROUP, 0), 1);
        assert.deepEqual(await left(), ["pending"]);
      });

      test("faults a request that three consumers have died of", async () => {
        const ids = await readBy("dead", [await gateway.send(counter("total", {}, QUERY))]);
        const stream = requestsOf("counter");
        const [[entry]] = (await gateway.redis.xpending(stream, GROUP, "-", "+", 1)) as [[string]];
        await gateway.redis.xclaim(stream, GROUP, "dead", 0, entry, "RETRYCOUNT", 3);
        start();
        const [{ fault }] = (await gateway.answers(ids)) as unknown as [{ fault: unknown }];
        assert.deepEqual(fault, {
          kind: "crashed",
          message: "given to 3 consumers, none of which lived to answer",
        });
      });

      test("answers on after its group and everything else has vanished", async () => {
        start();
        await gateway.ask(counter("total", {}, QUERY));
        await gateway.redis.flushall();
        const asked = gateway.ask(counter("total", {}, QUERY));
        await gateway.announce(DIGESTS);
        assert.ok("ok" in (await asked));
        await gateway.joined("counter", 1);
      });

      test("survives a killed Redis with two lines in its log", async () => {
        const service = start();
        await gateway.ask(counter("total", {}, QUERY));
        const before = service.lines.length;
        await redis.kill9();
        await eventually("a line", () => service.lines.length > before);
        await redis.restart();
        assert.ok("ok" in (await gateway.ask(counter("total", {}, QUERY))));
        await gateway.joined("counter", 1);
        await eventually("a second line", () => service.lines.length > before + 1);
        assert.equal(service.lines.length, before + 2, service.lines.join("\n"));
      });

      test("survives a Redis that stood still for longer than its leases", async () => {
        start();
        await gateway.ask(counter("total", {}, QUERY));
        redis.stop();
        const asked = gateway.send(counter("total", {}, QUERY));
        await pause(LEASE_MS + 500); // nothing happens meanwhile that could be waited for
        redis.cont();
        assert.ok("ok" in ((await gateway.answers([await asked]))[0] as object));
        await gateway.joined("counter", 1);
      });

      test("loses its lease while it stands still, and serves again when it goes on", async () => {
        const service = start();
        await gateway.joined("counter", 1);
        service.signal("SIGSTOP");
        await gateway.joined("counter", 0);
        const late = await gateway.send(counter("total", {}, { kind: "query", timeoutMs: 1 }));
        service.signal("SIGCONT");
        await gateway.joined("counter", 1);
        assert.notEqual((await gateway.ask(counter("total", {}, QUERY))).invocation, late);
      });

      test("leaves on SIGTERM, with nothing of it left in Redis", async () => {
        const service = start();
        await gateway.ask(counter("total", {}, QUERY));
        service.signal("SIGTERM");
        assert.equal(await service.exited, 0);
        assert.deepEqual(await gateway.live("counter"), []);
        assert.deepEqual(await gateway.redis.xinfo("CONSUMERS", requestsOf("counter"), GROUP), []);
      });

      test("answers what reaches it while it leaves", async () => {
        const service = start();
        await gateway.joined("counter", 1);
        service.signal("SIGTERM");
        await gateway.joined("counter", 0);
        assert.ok("ok" in (await gateway.ask(counter("total", {}, QUERY))));
        assert.equal(await service.exited, 0);
      });

      test("leaves when its parent is gone", async () => {
        const service = start({ BRIDGE_PARENT_STDIN: "1" });
        await gateway.joined("counter", 1);
        service.endInput();
        assert.equal(await service.exited, 0);
      });

      test("leaves at once when Redis is gone", async () => {
        const service = start();
        await gateway.joined("counter", 1);
        await redis.kill9();
        service.signal("SIGTERM");
        assert.equal(await service.exited, 0);
        await redis.restart();
      });

      test("does not start with an implementation that cannot be read, and names it", async () => {
        const service = start({ BRIDGE_IMPLEMENTATIONS: "/nowhere/implementations.json" });
        assert.equal(await service.exited, 1);
        assert.match(service.lines.join("\n"), /\/nowhere\/implementations\.json: ENOENT/);
      });

      /** Have a consumer that will never answer read what was sent. */
      async function readBy(consumer: string, ids: string[]): Promise<string[]> {
        const stream = requestsOf("counter");
        await gateway.redis.xgroup("CREATE", stream, GROUP, "0", "MKSTREAM");
        await gateway.redis.xreadgroup("GROUP", GROUP, consumer, "STREAMS", stream, ">");
        return ids;
      }
    });
  }
});
