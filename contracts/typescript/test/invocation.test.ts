import assert from "node:assert/strict";
import { test } from "node:test";

import { contracts } from "../src/generated/contracts.ts";
import type { Contract } from "../src/contract.ts";
import { Refusal, type Handler } from "../src/implementation.ts";
import { answer, readInvocation, writeOutcome, type Answer } from "../src/invocation.ts";
import type { Json } from "../src/json.ts";
import { contextOf } from "./gateway.ts";

const HEARTBEAT = contracts["heartbeat"] as Contract;
const STATE = {
  every_ms: 0,
  min_gap_ms: 600_000,
  profile: "early",
  last_ms: null,
  runs: 0,
  skipped: 0,
};
const RAN = { status: "ran", events: 10 };

function ask(handle: Handler, operation = "tick", request: Json = {}): Answer {
  return answer(HEARTBEAT, handle, {
    id: "a",
    subject: "k",
    replyto: "joelclaw:bridge:replies:w",
    timeoutms: 1000,
    data: {
      subsystem: "heartbeat",
      key: "k",
      operation,
      request,
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

test("an async handler is refused before it starts", () => {
  let started = false;
  const handle = async (): Promise<never> => {
    started = true;
    throw new Error("unheard");
  };
  assert.deepEqual(faultOf(ask(handle as unknown as Handler)), {
    kind: "off_contract",
    message: "heartbeat.tick: handlers are functions, this one is async",
  });
  assert.equal(started, false);
});

test("a handler that returns a promise is refused, and the promise's failure is heard", () => {
  const handle = () => Promise.reject(new Error("unheard"));
  assert.equal(faultOf(ask(handle as unknown as Handler)).kind, "off_contract");
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

test("an effect the operation does not declare is off its contract", () => {
  const effects = [{ effect: "cancel", id: "tick" } as const];
  assert.deepEqual(faultOf(ask(() => ({ reply: RAN, effects, state: STATE }))), {
    kind: "off_contract",
    message: "heartbeat effect 0: expected one of the declared (inngest, schedule), got cancel",
  });
});

test("an effect off its own schema is off the contract", () => {
  const effects = [{ effect: "schedule", id: "tick", at_ms: -1, operation: "tick", request: {} }];
  const outcome = { reply: RAN, effects, state: STATE };
  assert.deepEqual(faultOf(ask((() => outcome) as unknown as Handler)), {
    kind: "off_contract",
    message: "heartbeat effect 0: /at_ms breaks minimum: must be >= 0, got integer",
  });
});

test("a scheduled request off its operation's schema is off the contract", () => {
  const request = { unasked: true };
  const effects = [
    { effect: "schedule", id: "tick", at_ms: 0, operation: "tick", request } as const,
  ];
  assert.deepEqual(faultOf(ask(() => ({ reply: RAN, effects, state: STATE }))), {
    kind: "off_contract",
    message:
      "heartbeat effect 0 request: (whole value) breaks additionalProperties: " +
      "must NOT have additional properties, got object",
  });
});

test("a request off its contract does not reach the handler", () => {
  const handle: Handler = () => assert.fail("called");
  assert.equal(faultOf(ask(handle, "configure", { every_ms: "1" })).kind, "off_contract");
  assert.equal(faultOf(ask(handle, "unheard_of")).kind, "off_contract");
});

test("a reason the operation does not declare is off its contract", () => {
  const handle: Handler = () => {
    throw new Refusal("because");
  };
  assert.deepEqual(faultOf(ask(handle)), {
    kind: "off_contract",
    message: "heartbeat.tick: expected a declared reason (none), got because",
  });
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
