import assert from "node:assert/strict";
import { test } from "node:test";

import { Refusal, type Handler } from "../src/implementation.ts";
import { answer, readInvocation, writeOutcome, type Answer } from "../src/invocation.ts";
import { builtIn } from "./contracts.ts";
import { contextOf } from "./gateway.ts";

const HEARTBEAT = builtIn("heartbeat");
const STATE = {
  every_ms: 0,
  min_gap_ms: 600_000,
  profile: "early",
  last_ms: null,
  runs: 0,
  skipped: 0,
};
const RAN = { status: "ran", events: 10 };

function ask(
  handle: Handler,
  operation = "tick",
  kind: "command" | "query" = "command",
): Answer {
  return answer(HEARTBEAT, handle, {
    id: "a",
    subject: "k",
    replyto: "joelclaw:bridge:replies:w",
    timeoutms: 1000,
    data: {
      subsystem: "heartbeat",
      key: "k",
      operation,
      kind,
      request: {},
      state: STATE,
      context: contextOf("m", "k", 0),
      digest: HEARTBEAT.digest,
    },
  });
}

function faultOf(answer: Answer): { kind: string; message: string } {
  assert.ok("fault" in answer, JSON.stringify(answer));
  return answer.fault;
}

test("a handler that returns a promise is refused, and the promise's failure is heard", () => {
  const handle = () => Promise.reject(new Error("unheard"));
  assert.equal(faultOf(ask(handle as unknown as Handler)).kind, "off_contract");
});

test("reply, effects and state may each be as deep as a value may be", () => {
  const nested = (levels: number): unknown => (levels > 0 ? [nested(levels - 1)] : 0);
  const within = (reply: unknown, effects: unknown, state: unknown): Answer =>
    ask((() => ({ reply, effects, state })) as unknown as Handler);
  assert.ok("ok" in within(nested(64), nested(64), nested(64)));
  for (const [name, answer] of [
    ["reply", within(nested(65), [], 0)],
    ["effects", within(0, nested(65), 0)],
    ["state", within(0, [], nested(65))],
  ] as const) {
    assert.match(faultOf(answer).message, /at most 64 levels/, name);
  }
});

test("a handler may change what it was given", () => {
  const handle: Handler = (state) => {
    state.runs = 5;
    return { reply: RAN, effects: [], state };
  };
  assert.deepEqual(ask(handle), {
    ok: { reply: RAN, effects: [], state: { ...STATE, runs: 5 } },
  });
  assert.equal(STATE.runs, 0);
});

test("what is not JSON is named by its pointer", () => {
  const state = { ...STATE, runs: Number.NaN };
  assert.deepEqual(faultOf(ask(() => ({ reply: RAN, effects: [], state }))), {
    kind: "not_serialisable",
    message: "heartbeat.tick: /state/runs: expected a finite number, got NaN",
  });
  assert.deepEqual(faultOf(ask(() => ({ reply: RAN, effects: [] }))), {
    kind: "not_serialisable",
    message: "heartbeat.tick: /state: expected a JSON value, got undefined",
  });
});

test("a query that answers effects gives them to the gateway, which refuses them", () => {
  const effects = [{ effect: "cancel", id: "tick" } as const];
  assert.deepEqual(ask(() => ({ reply: RAN, effects }), "status", "query"), {
    ok: { reply: RAN, effects },
  });
  assert.deepEqual(ask(() => ({ reply: RAN, state: 1 }), "status", "query"), {
    ok: { reply: RAN },
  });
});

test("half a character in a refusal's message is mended", () => {
  const handle: Handler = () => {
    throw new Refusal("no", "ab😀".slice(0, 3), { n: 1 });
  };
  assert.deepEqual(ask(handle), {
    refused: { reason: "no", message: "ab\ufffd", detail: { n: 1 } },
  });
});

test("a refusal's detail that is no JSON is the handler's fault, with its pointer", () => {
  const handle: Handler = () => {
    throw new Refusal("no", "", { n: Number.NaN });
  };
  assert.deepEqual(faultOf(ask(handle)), {
    kind: "not_serialisable",
    message:
      "heartbeat.tick refused: NotSerialisable: /detail/n: expected a finite number, got NaN",
  });
});

test("whatever is thrown is answered", () => {
  const unreadable = new Error();
  Object.defineProperty(unreadable, "message", {
    get() {
      throw new Error("again");
    },
  });
  for (const thrown of [unreadable, Object.create(null), Symbol("s"), undefined, "x".repeat(1e6)]) {
    const handle: Handler = () => {
      throw thrown;
    };
    const { kind, message } = faultOf(ask(handle));
    assert.equal(kind, "crashed");
    assert.ok(message.startsWith("heartbeat.tick threw ") && message.length < 600, message);
  }
});

test("what is no outcome is named by its type", () => {
  for (const [outcome, came] of [[null, "null"], [[1], "array"], ["x", "string"]]) {
    const handle = (() => outcome) as unknown as Handler;
    assert.deepEqual(faultOf(ask(handle)), {
      kind: "off_contract",
      message: `heartbeat.tick: expected {reply, effects, state}, got ${came}`,
    });
  }
});

test("an invocation is read, and its outcome written, as CloudEvents", () => {
  const event = {
    specversion: "1.0",
    id: "a",
    source: "/bridge/w",
    type: "bridge.invocation",
    subject: "k",
    replyto: "joelclaw:bridge:replies:w",
    timeoutms: 5,
    data: {},
  };
  const read = readInvocation(JSON.stringify(event));
  assert.deepEqual(read, event);
  const ok = { ok: { reply: 1 } };
  const text = writeOutcome(read as NonNullable<typeof read>, ok, "/typescript/c", new Date(0));
  assert.deepEqual(JSON.parse(text), {
    specversion: "1.0",
    id: "a/outcome",
    source: "/typescript/c",
    type: "bridge.outcome",
    subject: "k",
    time: "1970-01-01T00:00:00.000Z",
    datacontenttype: "application/json",
    data: { invocation: "a", ok: { reply: 1 } },
  });
  for (const broken of ["replyto", "id", "subject", "timeoutms", "data"]) {
    assert.equal(readInvocation(JSON.stringify({ ...event, [broken]: null })), null, broken);
  }
  assert.equal(readInvocation(JSON.stringify({ ...event, replyto: "joelclaw:mode" })), null);
  assert.equal(readInvocation(undefined), null);
});
