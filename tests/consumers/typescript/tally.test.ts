/** The scenarios of a subsystem, in its owner's own tests. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { call, contextFor, deliverTo, testScenarios } from "joelclaw-bridge/testing";

import { handle } from "./tally/tally.ts";

testScenarios(test, "tally", handle);

test("a handler is called without a bridge", () => {
  const context = contextFor("message", "a", 1767225600000);
  const told = call(handle, {
    operation: "total",
    kind: "query",
    request: {},
    state: { total: 3 },
    context,
  });
  assert.deepEqual(told, { ok: { reply: { total: 3 } } });
});

test("a receiver is handed what `deliver` would", async () => {
  const seen: string[] = [];
  const delivered = await deliverTo(({ payload }) => seen.push(payload.prompt), {
    type: "triage.prompt",
    payload: { event_ids: [], events: [], prompt: "hello" },
  });
  assert.deepEqual([delivered.taken, seen], [true, ["hello"]]);
});
