import assert from "node:assert/strict";
import { test } from "node:test";

import { runInSlices, type Job, type Ran } from "../src/budget.ts";

async function all<T>(jobs: Array<Job<T>>): Promise<Array<Ran<T>>> {
  const results: Array<Ran<T>> = [];
  for await (const slice of runInSlices(jobs)) results.push(...slice);
  return results;
}

const BUDGET_MS = 60;
const quick = (value: number): Job<number> => ({ budgetMs: BUDGET_MS, run: () => value });
const busyFor = (ms: number): Job<number> => ({
  budgetMs: BUDGET_MS,
  run: () => {
    const until = performance.now() + ms;
    while (performance.now() < until);
    return ms;
  },
});
const endless = (run: () => unknown): Job<number> => ({
  budgetMs: BUDGET_MS,
  run: () => Number(run()),
});

test("jobs give their results in order", async () => {
  const jobs = Array.from({ length: 500 }, (_, n) => quick(n));
  assert.deepEqual(
    await all(jobs),
    jobs.map((_, value) => ({ value })),
  );
});

test("an endless loop is ended, wherever it hides, and its neighbours are not", async () => {
  const loops = [
    () => {
      for (;;);
    },
    () => {
      for (;;) {
        try {
          for (;;);
        } catch {
          continue;
        } finally {
          for (;;);
        }
      }
    },
    () => /^(a+)+$/.test(`${"a".repeat(60)}b`),
    () =>
      [3, 1, 2].sort(() => {
        for (;;);
      }),
  ];
  for (const loop of loops) {
    assert.deepEqual(await all([quick(1), endless(loop), quick(2)]), [
      { value: 1 },
      { timeout: true },
      { value: 2 },
    ]);
  }
});

test("each job has the whole budget, whatever those before it took", async () => {
  const jobs = Array.from({ length: 6 }, () => busyFor(20));
  assert.deepEqual(
    await all(jobs),
    jobs.map(() => ({ value: 20 })),
  );
});

test("timers get their turn between slices", async () => {
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  for await (const _ of runInSlices(Array.from({ length: 4 }, () => busyFor(30)))) {
    await new Promise(setImmediate);
  }
  clearInterval(timer);
  assert.ok(ticks >= 2, `expected a turn after most slices, got ${ticks}`);
});
