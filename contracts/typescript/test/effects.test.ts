import assert from "node:assert/strict";
import { test } from "node:test";

import { effects } from "../src/generated/contracts.ts";

test("no system_event goes to a session named after a process", () => {
  const check = effects["system_event"];
  assert.ok(check);
  const at = (session: string): boolean =>
    Boolean(check({ effect: "system_event", session, type: "t", payload: {} }));
  assert.deepEqual(["agent", "pid", "a-pid-1", "pid-1", "pid-12a"].map(at), [
    true,
    true,
    true,
    false,
    false,
  ]);
});
