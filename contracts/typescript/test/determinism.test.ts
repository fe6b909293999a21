import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import * as derived from "../src/derived.ts";
import { canonical, NotSerialisable, parse } from "../src/json.ts";
import { CONTRACTS, readJson } from "./paths.ts";

const FOLDER = join(CONTRACTS, "vectors", "determinism");

interface Vectors {
  cases: any[];
  seeds?: Array<{ message_id: string; seed: string }>;
}

/** One check per file of vectors. */
const CHECKS: Record<string, (vectors: Vectors) => void> = {
  "canonical.json": each(({ text, canonical: expected }) => {
    assert.equal(canonical(parse(text)), expected);
  }),
  // The codes are the gateway's; here it is a SyntaxError, or an error with a pointer.
  "refused.json": each(({ text, code, pointer }) => {
    assert.throws(
      () => parse(text),
      (error) =>
        error instanceof NotSerialisable
          ? pointer === undefined || error.pointer === pointer
          : error instanceof SyntaxError && ["invalid_frame", "invalid_number"].includes(code),
    );
  }),
  "derived_id.json": each(({ message_id, name, id }) => {
    assert.equal(derived.derivedId(message_id, name), id);
  }),
  "derived_random.json": (vectors) => {
    for (const { message_id, seed } of vectors.seeds ?? []) {
      assert.equal(createHash("sha256").update(`${message_id}/seed`).digest("hex"), seed);
    }
    each(({ seed, n, random }) => assert.equal(derived.derivedRandom(seed, n), random))(vectors);
  },
  "cut.json": each(({ text, length, at, cut }) => {
    assert.equal(derived.lengthOf(text), length);
    assert.equal(derived.cut(text, at), cut);
  }),
  "trim.json": each(({ text, trimmed }) => assert.equal(derived.trim(text), trimmed)),
  "sort.json": each(({ texts, sorted }) => {
    assert.deepEqual(texts.toSorted(derived.byCodePoint), sorted);
  }),
  "divide.json": each(({ dividend, divisor, quotient, remainder }) => {
    // strict: Object.is, so that -0 is not 0
    assert.equal(derived.divide(dividend, divisor), quotient);
    assert.equal(derived.remainder(dividend, divisor), remainder);
  }),
};

function each(check: (one: any) => void): (vectors: Vectors) => void {
  return ({ cases }) => cases.forEach(check);
}

for (const file of readdirSync(FOLDER)) {
  test(`the vectors of ${file} hold`, () => {
    const check = CHECKS[file];
    assert.ok(check, `no check for ${file}: expected one of ${Object.keys(CHECKS)}`);
    check(readJson<Vectors>(FOLDER, file));
  });
}

test("what is no JSON in memory is refused with its pointer", async (t) => {
  const { normalise } = await import("../src/json.ts");
  const cycle: Record<string, unknown> = {};
  cycle["again"] = cycle;
  const cases: Array<[unknown, string, string]> = [
    [{ a: [1, undefined] }, "/a/1", "undefined"],
    [[, 1], "/0", "undefined"],
    [{ f: () => 1 }, "/f", "function"],
    [{ d: new Date(0) }, "/d", "Date"],
    [{ m: new Map() }, "/m", "Map"],
    [{ n: Number.NaN }, "/n", "NaN"],
    [{ b: 1n }, "/b", "bigint"],
    [{ "a/b": { "~": 2 ** 53 } }, "/a~1b/~0", "9007199254740992"],
    [cycle, "", "more"],
  ];
  for (const [value, pointer, actual] of cases) {
    await t.test(`${pointer} ${actual}`, () => {
      assert.throws(() => normalise(value), { name: "NotSerialisable", pointer, actual });
    });
  }
  assert.ok(Object.is((normalise([-0]) as number[])[0], 0));
});

test("trimming takes time that grows with the text's length", async () => {
  const { trim } = await import("../src/derived.ts");
  const inner = `a${" ".repeat(1_000_000)}b`;
  assert.equal(trim(inner), inner);
});
