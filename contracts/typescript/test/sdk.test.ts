/** The SDK in programs of others: what it refuses, tells, and leaves behind. */

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { Redis } from "ioredis";

import { deliver } from "../src/deliver.ts";
import { operations, type Handler } from "../src/implementation.ts";
import type { Logger } from "../src/logger.ts";
import { serve, type Fault, type Service } from "../src/serve.ts";
import { builtIn } from "./contracts.ts";
import { eventually } from "./deadline.ts";
import { Gateway } from "./gateway.ts";
import { PACKAGE } from "./paths.ts";
import { RedisServer } from "./redis_server.ts";

const contracts = { heartbeat: builtIn("heartbeat") };
const DIGEST = contracts.heartbeat.digest;
const STATE = {
  every_ms: 0,
  min_gap_ms: 5,
  profile: "early",
  last_ms: null,
  runs: 0,
  skipped: 0,
};
const STATUS = { subsystem: "heartbeat", operation: "status", state: STATE, digest: DIGEST };
const ASKED = { ...STATUS, kind: "query" } as const;
const REPLY = { reply: { last_ms: null, next_ms: null, runs: 0, skipped: 0 } };

let server: RedisServer;
let redis: Redis;
let gateway: Gateway;
let ended: Array<() => Promise<unknown>> = [];

before(async () => {
  server = await RedisServer.start();
  redis = new Redis(server.url, { protocol: 2 });
  gateway = new Gateway(server.url);
});
beforeEach(() => gateway.announce({ heartbeat: DIGEST, triage: "any" }));
afterEach(async () => {
  await Promise.all(ended.map((end) => end()));
  ended = [];
  await redis.flushall();
});
after(async () => {
  redis.disconnect();
  gateway.redis.disconnect();
  await server.close();
});

class Lines implements Logger {
  readonly said: Array<[level: string, text: string]> = [];
  readonly debug = (text: string): void => void this.said.push(["debug", text]);
  readonly info = (text: string): void => void this.said.push(["info", text]);
  readonly warn = (text: string): void => void this.said.push(["warn", text]);
  readonly error = (text: string): void => void this.said.push(["error", text]);

  of(level: string): string[] {
    return this.said.flatMap(([of, text]) => (of === level ? [text] : []));
  }
}

function started(handle: Handler, logger = new Lines()): Service {
  const service = serve({ heartbeat: handle }, { contracts, redisUrl: server.url, logger });
  ended.push(() => service.close());
  return service;
}

for (const [kind, odd] of [
  ["async", async () => {}],
  ["async", (async () => {}).bind(null)],
  ["a generator", function* () {}],
  ["an async generator", async function* () {}],
] as Array<[string, unknown]>) {
  test(`what is ${kind} is refused before it runs`, () => {
    const message = `add: expected a plain function, this one is ${kind}`;
    const text = { name: "TypeError", message };
    assert.throws(() => operations({ add: odd } as never), text);
    const whole = { ...text, message: message.replace("add", "heartbeat") };
    assert.throws(() => serve({ heartbeat: odd as Handler }, { contracts, redisUrl: server.url }), whole);
  });
}

test("what is no function is refused too", () => {
  assert.throws(() => operations({ add: 1 } as never), /add: expected a function, got number/);
});

test("without an address there is no default: it might be somebody else's", () => {
  const env = process.env["BRIDGE_REDIS_URL"];
  delete process.env["BRIDGE_REDIS_URL"];
  try {
    const starts = [
      () => serve({}, { contracts }),
      () => deliver(() => {}),
      () => serve({}, { contracts, redisUrl: "" }),
    ];
    for (const start of starts) {
      assert.throws(start, /^Error: redisUrl: expected .*`redis_url` in \.bridge\/run\.json/);
    }
  } finally {
    if (env !== undefined) process.env["BRIDGE_REDIS_URL"] = env;
  }
});

test("a service writes nothing to a Redis no gateway has announced itself at", async () => {
  await redis.flushall();
  await redis.set("another's", "1");
  const logger = new Lines();
  started(() => REPLY, logger);
  await eventually("a line", () => logger.of("warn").length > 0);
  assert.match(logger.of("warn").join(), /no gateway has announced itself at 127\.0\.0\.1:\d+/);
  assert.deepEqual(await redis.keys("*"), ["another's"]);
});

test("an exception is logged with stack and cause, and told with its message", async () => {
  const logger = new Lines();
  const error = new Error("broken", { cause: new RangeError("at its root") });
  const service = started(() => {
    throw error;
  }, logger);
  const faults: Fault[] = [];
  service.on("fault", (fault) => {
    faults.push(fault);
    throw new Error("of the listener");
  });
  await gateway.ask(ASKED);
  await gateway.ask(ASKED);
  const message = "heartbeat.status threw Error: broken (sdk.test.ts:";
  assert.equal(faults.length, 2);
  const [{ message: told, ...fault }] = faults as [Fault];
  assert.deepEqual(fault, {
    subsystem: "heartbeat",
    operation: "status",
    key: "k",
    messageId: "m",
    kind: "crashed",
    error,
  });
  assert.equal(told.replace(/sdk\.test\.[jt]s/, "sdk.test.ts").slice(0, message.length), message);
  const [logged, listener] = logger.of("error") as [string, string];
  assert.match(logged, /\(message m, key k\)\nError: broken\n +at /);
  assert.match(logged, /\[cause\]: RangeError: at its root\n/);
  assert.match(listener, /^a listener of fault failed: Error: of the listener/);
});

const FAILS = {
  get: () => {
    throw new Error("no");
  },
};
for (const [what, thrown] of [
  ["null", null],
  ["a text", "text"],
  ["an object without a text", Object.create(null)],
  ["an error whose message fails", Object.defineProperty(new Error(), "message", FAILS)],
  ["a proxy that refuses everything", new Proxy({}, FAILS)],
  ["half of an emoji", new Error("\ud83d")],
] as Array<[string, unknown]>) {
  test(`a handler may throw ${what}: it is answered and the next one too`, async () => {
    let times = 0;
    started(() => {
      if (times++ === 0) throw thrown;
      return REPLY;
    });
    const { fault } = (await gateway.ask(ASKED)) as { fault?: { kind: string } };
    assert.equal(fault?.kind, "crashed");
    assert.ok("ok" in (await gateway.ask(ASKED)));
  });
}

test("a service tells what it serves, what is refused, and that its lease ran out", async () => {
  const logger = new Lines();
  const service = started(() => REPLY, logger);
  const told: unknown[] = [];
  for (const event of ["ready", "lost", "refused"] as const) {
    service.on(event, (of: unknown) => told.push([event, of]));
  }
  await eventually("ready", () => told.length === 1);
  await redis.del("joelclaw:bridge:{heartbeat}:runtime:typescript");
  await eventually("ready again", () => told.length === 3);
  const theirs = "f".repeat(64);
  await redis.set("joelclaw:bridge:{heartbeat}:contract", theirs);
  await eventually("refused", () => told.length === 4);
  assert.deepEqual(told, [
    ["ready", "heartbeat"],
    ["lost", "heartbeat"],
    ["ready", "heartbeat"],
    ["refused", { subsystem: "heartbeat", ours: DIGEST, theirs }],
  ]);
});

test("a clean end says nothing alarming", async () => {
  const logger = new Lines();
  const service = started(() => REPLY, logger);
  await eventually("it serves", () => service.serving.length === 1);
  const deliverer = deliver(() => {}, { redisUrl: server.url, logger });
  await eventually("it delivers", () => deliverer.holding);
  await Promise.all([service.close(), deliverer.close()]);
  assert.deepEqual([...logger.of("warn"), ...logger.of("error")], []);
});

class Program {
  readonly said: Array<Record<string, unknown>> = [];
  readonly exited: Promise<number | null>;
  log = "";
  readonly #process: ChildProcess;

  constructor(...args: string[]) {
    const file = join(PACKAGE, "test", "dist", "test", "left_behind_process.js");
    const env = { ...process.env, BRIDGE_REDIS_URL: server.url };
    this.#process = spawn(process.execPath, [file, ...args], { stdio: "pipe", env });
    let text = "";
    this.#process.stdout?.setEncoding("utf8").on("data", (more: string) => {
      const lines = (text + more).split("\n");
      text = lines.pop() as string;
      this.said.push(...lines.map((line) => JSON.parse(line) as Record<string, unknown>));
    });
    this.#process.stderr?.setEncoding("utf8").on("data", (more: string) => (this.log += more));
    this.exited = once(this.#process, "exit").then(([code]) => code as number | null);
    ended.push(async () => {
      this.#process.kill("SIGKILL");
      await this.exited;
    });
  }

  end(): void {
    this.#process.kill("SIGTERM");
  }
}

test("what a handler left behind is told of as that handler's, and is not fatal", async () => {
  const program = new Program();
  for (let n = 0; n < 3; n++) assert.ok("ok" in (await gateway.ask(ASKED)));
  await eventually("all are told of", () => program.said.length === 10);
  assert.deepEqual(program.said[0], { ready: "heartbeat" });
  for (const { error, ...fault } of program.said.slice(1)) {
    assert.deepEqual(fault, {
      subsystem: "heartbeat",
      operation: "status",
      key: "k",
      messageId: "m",
      kind: "unheard",
      message: "heartbeat.status left a promise or a timer behind that failed",
    });
    assert.match(String(error), /^Error: left (behind|to a timer|a timer)$/);
  }
  assert.match(program.log, /a timer behind that failed \(message m, key k\)\nError: left/);
  program.end();
  assert.equal(await program.exited, 0);
});

for (const what of ["promise", "timer"]) {
  test(`a ${what} the program left behind itself ends it, as ever`, async () => {
    const program = new Program(what);
    assert.equal(await program.exited, 1);
    assert.match(program.log, /Error: its own/);
  });
}

test("a delivery's signal is its own, and nothing of it stays", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const signals: Array<WeakRef<AbortSignal>> = [];
  let fired = 0;
  const deliverer = deliver(
    ({ signal }) => {
      signal.addEventListener("abort", () => fired++);
      signals.push(new WeakRef(signal));
    },
    { redisUrl: server.url, logger: new Lines() },
  );
  const event = { id: "m/1", type: "triage.prompt", subject: "gateway", seq: 1, n: 1 };
  const text = JSON.stringify({ ...event, data: { prompt: "p", event_ids: [] } });
  for (let n = 0; n < 200; n++) {
    await redis.xadd("joelclaw:bridge:{triage}:deliveries", "*", "event", text);
  }
  await eventually("all are taken", () => signals.length === 200);
  await eventually("none is kept", () => {
    collect();
    return signals.every((signal) => signal.deref() === undefined);
  });
  await deliverer.close();
  assert.equal(fired, 0);
});
