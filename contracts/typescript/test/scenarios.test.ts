import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { describe, test } from "node:test";

import { contractOf } from "../src/contract.ts";
import { contracts } from "../src/generated/contracts.ts";
import type { Context, Handler } from "../src/implementation.ts";
import { answer } from "../src/invocation.ts";
import { canonical, type Json } from "../src/json.ts";
import { loadHandlers } from "../src/load.ts";
import { handle as heartbeat } from "../src/subsystems/heartbeat.ts";
import { handle as sessions } from "../src/subsystems/sessions.ts";
import { handle as terminal } from "../src/subsystems/terminal.ts";
import { handle as triage } from "../src/subsystems/triage.ts";
import { contextOf } from "./gateway.ts";
import { CONTRACTS, readJson, TEST_SUBSYSTEMS } from "./paths.ts";

type Schema = { $ref?: string; properties?: Record<string, { default?: Json }> };

interface File {
  name: string;
  initial_state: Json;
  operations: Record<string, { kind: "command" | "query"; request: Schema }>;
  $defs: Record<string, Schema>;
}

interface Step {
  operation: string;
  request: { [member: string]: Json };
  now_ms: number;
  message_id?: string;
  expect: {
    reply?: Json;
    effects?: Json;
    state?: Json;
    refused?: string;
    message?: string;
    detail?: Json;
  };
}

interface Scenario {
  name: string;
  key: string;
  given?: Json;
  steps: Step[];
}

const { counter } = await loadHandlers(
  join(TEST_SUBSYSTEMS, "implementations.json"),
  (error) => {
    throw error;
  },
);
const IMPLEMENTATIONS: Array<[folder: string, handle: Handler]> = [
  [join(CONTRACTS, "subsystems", "heartbeat"), heartbeat],
  [join(CONTRACTS, "subsystems", "sessions"), sessions],
  [join(CONTRACTS, "subsystems", "terminal"), terminal],
  [join(CONTRACTS, "subsystems", "triage"), triage],
  [join(TEST_SUBSYSTEMS, "counter"), counter?.handle as Handler],
];

for (const [folder, handle] of IMPLEMENTATIONS) {
  const file = readJson<File>(folder, "subsystem.json");
  const contract = contractOf(file);
  describe(`the scenarios of ${file.name}, byte for byte`, () => {
    const { scenarios } = readJson<{ scenarios: Scenario[] }>(folder, "scenarios.json");
    for (const { name, key, given, steps } of scenarios) {
      test(name, () => {
        let state = given === undefined ? file.initial_state : given;
        steps.forEach((step, n) => {
          const context = contextFor(step.message_id ?? `${slug(name)}/${n}`, key, step.now_ms);
          const told = answer(contract, handle, {
            id: "attempt",
            subject: key,
            replyto: "",
            timeoutms: 1000,
            data: {
              subsystem: file.name,
              key,
              operation: step.operation,
              kind: file.operations[step.operation]?.kind as "command" | "query",
              request: { ...defaults(file, step.operation), ...step.request },
              state,
              context,
              digest: contract.digest,
            },
          });
          if (step.expect.refused !== undefined) {
            assert.ok("refused" in told, JSON.stringify(told));
            const { reason: refused, ...rest } = told.refused;
            assert.deepEqual({ refused, ...rest, ...step.expect }, { refused, ...rest });
            return;
          }
          assert.ok("ok" in told, JSON.stringify(told));
          assert.equal(canonical(told.ok as Json), canonical(step.expect as Json), `step ${n}`);
          state = told.ok.state ?? state;
        });
      });
    }
  });
}

test("a built-in contract is the one of its file", () => {
  const file = readJson<File>(CONTRACTS, "subsystems", "heartbeat", "subsystem.json");
  assert.equal(contracts["heartbeat"]?.digest, contractOf(file).digest);
});

function contextFor(message_id: string, key: string, now_ms: number): Context {
  const seed = createHash("sha256").update(`${message_id}/seed`).digest("hex");
  return { ...contextOf(message_id, key, now_ms), seed };
}

/** As the gateway fills them in. */
function defaults(file: File, operation: string): { [member: string]: Json } {
  const request = file.operations[operation]?.request as Schema;
  const schema = request.$ref ? file.$defs[request.$ref.replace("#/$defs/", "")] : request;
  const members = Object.entries(schema?.properties ?? {}).flatMap(([name, property]) =>
    property.default === undefined ? [] : [[name, property.default] as const],
  );
  return Object.fromEntries(members);
}

/** contracts/README.md has the rule. */
function slug(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
}
