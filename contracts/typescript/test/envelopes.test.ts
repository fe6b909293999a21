import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { OffContract, readEnvelope, type Envelopes } from "../src/envelopes.ts";
import { NotSerialisable } from "../src/json.ts";
import { CONTRACTS, readJson } from "./paths.ts";

interface Example {
  name: string;
  value?: unknown;
  text?: string;
  base64?: string;
  verdict: "valid" | { pointer: string; rule: string };
}

type Schema = { anyOf: Array<{ $ref: string }>; $defs: Record<string, { oneOf?: unknown }> };

const FOLDER = join(CONTRACTS, "joelclaw");
const EXAMPLES = readJson<Record<keyof Envelopes, Example[]>>(FOLDER, "examples.json");
const SCHEMA = readJson<Schema>(FOLDER, "envelopes.schema.json");
const UTF8 = new TextDecoder("utf-8", { fatal: true });
const BROKEN = /: (?:\(whole value\)|(\/\S*)) breaks (\w+): /;

function textOf({ value, text, base64 }: Example): string {
  if (base64 !== undefined) return UTF8.decode(Buffer.from(base64, "base64"));
  return text ?? JSON.stringify(value);
}

for (const [name, examples] of Object.entries(EXAMPLES)) {
  const envelope = name as keyof Envelopes;
  for (const example of examples) {
    test(`${name}: ${example.name}`, () => {
      const { verdict } = example;
      const read = () => readEnvelope(envelope, textOf(example));
      if (verdict === "valid") {
        assert.deepEqual(read(), JSON.parse(textOf(example)));
        return;
      }
      assert.throws(read, (error) => {
        if (error instanceof NotSerialisable) return error.pointer === verdict.pointer;
        if (error instanceof OffContract) {
          const [, pointer = "", rule] = BROKEN.exec(error.message) ?? [];
          // Of several alternatives, ajv does not say which one was meant.
          const expected = SCHEMA.$defs[name]?.oneOf ? { pointer: "", rule: "oneOf" } : verdict;
          assert.deepEqual({ pointer, rule }, { ...expected });
          return true;
        }
        // What JSON.parse or, with a TypeError, the decoder refuses by itself.
        const rules = ["json", "invalid_number", "invalid_text"];
        assert.ok(error instanceof SyntaxError || error instanceof TypeError, String(error));
        return verdict.pointer === "" && rules.includes(verdict.rule);
      });
    });
  }
}

test("there are examples of every envelope, good and bad", () => {
  const names = SCHEMA.anyOf.map(({ $ref }) => $ref.replace("#/$defs/", ""));
  assert.deepEqual(Object.keys(EXAMPLES), names);
  for (const examples of Object.values(EXAMPLES)) {
    assert.deepEqual(new Set(examples.map(({ verdict }) => typeof verdict)).size, 2);
  }
});

test("an envelope that is read has its type", () => {
  const text = '{"id":"a","type":"demo.noted","source":"demo","payload":{},"ts":1767225600000}';
  const event: Envelopes["SystemEvent"] = readEnvelope("SystemEvent", text);
  assert.equal(event.ts, 1767225600000);
});
