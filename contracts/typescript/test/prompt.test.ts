import assert from "node:assert/strict";
import { test } from "node:test";

import type { Json } from "../src/json.ts";
import { promptOf } from "../src/prompt.ts";
import { CONTRACTS, readJson } from "./paths.ts";

interface Case {
  name: string;
  type: string;
  payload: { [member: string]: Json };
  zone: string;
  text: string;
}

const { cases } = readJson<{ cases: Case[] }>(CONTRACTS, "vectors", "delivery", "prompts.json");

for (const { name, type, payload, zone, text } of cases) {
  test(`a delivery has this text: ${name}`, () => {
    assert.equal(promptOf(type, payload, zone), text);
  });
}
