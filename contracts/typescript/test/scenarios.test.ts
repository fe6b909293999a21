import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";

import type { Handler } from "../src/implementation.ts";
import type { Json } from "../src/json.ts";
import { loadHandlers } from "../src/load.ts";
import { difference, merge } from "../src/scenarios.ts";
import { handle as heartbeat } from "../src/subsystems/heartbeat.ts";
import { handle as sessions } from "../src/subsystems/sessions.ts";
import { handle as terminal } from "../src/subsystems/terminal.ts";
import { handle as triage } from "../src/subsystems/triage.ts";
import {
  call,
  deliverTo,
  migrating,
  readScenarios,
  run,
  testScenarios,
} from "../src/testing.ts";
import { CONTRACTS, readJson, TEST_SUBSYSTEMS } from "./paths.ts";

const MIGRATION = join(TEST_SUBSYSTEMS, "..", "migration", "two");

function load(folder: string): ReturnType<typeof loadHandlers> {
  return loadHandlers(join(folder, "implementations.json"), (error) => {
    throw error;
  });
}

const { counter } = await load(TEST_SUBSYSTEMS);
const { ledger } = await load(MIGRATION);
const IMPLEMENTATIONS: Array<[folder: string, handle: Handler]> = [
  [join(CONTRACTS, "subsystems", "heartbeat"), heartbeat],
  [join(CONTRACTS, "subsystems", "sessions"), sessions],
  [join(CONTRACTS, "subsystems", "terminal"), terminal],
  [join(CONTRACTS, "subsystems", "triage"), triage],
  [join(TEST_SUBSYSTEMS, "counter"), counter?.handle as Handler],
  [join(MIGRATION, "ledger"), ledger?.handle as Handler],
];

for (const [folder, handle] of IMPLEMENTATIONS) {
  describe(folder, () => testScenarios(test, folder, handle));
}

const VECTORS = join(CONTRACTS, "vectors", "scenarios");

test("scenarios are worked out as in every language", () => {
  const { scenarios } = readJson<{ scenarios: Json }>(VECTORS, "resolved.json");
  assert.deepEqual(readScenarios(join(VECTORS, "ledger")), scenarios);
});

for (const { name, answers, problem } of readJson<{ cases: any[] }>(VECTORS, "runs.json").cases) {
  test(`compared as in every language: ${name}`, () => {
    const [scenario] = readScenarios(join(VECTORS, "ledger"));
    const told = [...answers];
    const handle = () => {
      const one = told.shift();
      if (!("refused" in one)) return one;
      const { refused: reason, message, detail } = one;
      throw Object.assign(new Error(message), { name: "Refusal", reason, detail });
    };
    assert.equal(run(scenario as never, handle), problem);
  });
}

test("what `migrate` makes is compared, and it must be there", () => {
  const [, older] = readScenarios(join(MIGRATION, "ledger")) as [any, any];
  const without: Handler = () => ({ reply: null });
  const odd = migrating(
    () => ({ reply: null }),
    () => ({ minor: 701, currency: "EUR" }),
  );
  assert.equal(
    run(older, odd),
    "/scenarios/1 (migrate): /state/minor: expected 700, got 701",
  );
  assert.match(run(older, without), /^\/scenarios\/1 \(migrate\): off_contract: .*no `migrate/);
});

test("merge patches are applied as RFC 7396 has it", () => {
  for (const { target, patch, result } of readJson<{ cases: any[] }>(VECTORS, "merged.json").cases) {
    assert.equal(difference(result, merge(target, patch)), "");
  }
});

test("a handler is called in this process", () => {
  const [{ steps }] = readScenarios(join(TEST_SUBSYSTEMS, "counter")) as [any];
  const told = call(counter?.handle as Handler, { ...steps[0], operation: "total", kind: "query" });
  assert.deepEqual(told, { ok: { reply: { total: 0, log_length: 0 } } });
});

test("a receiver gets what `deliver` would hand it, until it takes it", async () => {
  const events = [{ id: "e", type: "t", source: "s", payload: {}, ts: 0 }];
  const seen: unknown[] = [];
  const delivered = await deliverTo(
    ({ id, payload, attempt }) => {
      seen.push([id, payload.prompt, attempt]);
      if (attempt < 3) throw new Error("not yet");
    },
    { type: "triage.prompt", payload: { event_ids: ["e"], events, prompt: "hello" } },
  );
  assert.deepEqual(seen, [["m/0", "hello", 1], ["m/0", "hello", 2], ["m/0", "hello", 3]]);
  assert.deepEqual([delivered.taken, delivered.attempts, delivered.errors.length], [true, 3, 2]);
  const refused = await deliverTo(() => Promise.reject(new Error("never")), {
    type: "triage.digest",
    payload: { count: 1, by_type: { t: 1 }, members: events },
  });
  assert.deepEqual([refused.taken, refused.attempts], [false, 8]);
});
