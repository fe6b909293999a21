/** For the tests of implementations: `joelclaw-bridge/testing`. Needs no Redis and no bridge. */

import type { Delivery, Receiver } from "./deliver.ts";
import { migrating, type Handler } from "./implementation.ts";
import { promptOf } from "./prompt.ts";
import { readScenarios, run } from "./scenarios.ts";

export { migrating };
export {
  call,
  contextFor,
  readScenarios,
  run,
  type Call,
  type Scenario,
  type Step,
} from "./scenarios.ts";

/** `test` of node:test, bun:test, Vitest, Jest: anything that takes a name and a function. */
export type Test = (name: string, body: () => void) => unknown;

/**
 * Make a test of each scenario in a subsystem's folder. What migrates states of older versions is
 * handed on as `migrating(handle, migrate)`.
 */
export function testScenarios(test: Test, folder: string, handle: Handler): void {
  for (const scenario of readScenarios(folder)) {
    test(scenario.name, () => {
      const problem = run(scenario, handle);
      if (problem) throw new Error(problem);
    });
  }
}

type Emitted<D = Delivery> = D extends Delivery
  ? { type: D["type"]; payload: Omit<D["payload"], "prompt"> & { prompt?: string } } & Partial<
      Pick<D, "id" | "key" | "seq" | "n" | "signal">
    >
  : never;

/** What became of a delivery: whether it was taken, at which attempt, and what failed before. */
export interface Delivered {
  taken: boolean;
  attempts: number;
  errors: unknown[];
}

/**
 * Hand a receiver one event as `deliver` does, without Redis and without pauses.
 *
 * It comes again, with the same id and the next `attempt`, until the receiver takes it, at most
 * `most` times: eight, as `deliver` has it.
 */
export async function deliverTo(
  receive: Receiver,
  { type, payload, id = "m/0", key = "gateway", seq = 1, n = 0, ...rest }: Emitted,
  most = 8,
): Promise<Delivered> {
  const { signal = new AbortController().signal } = rest;
  const words = { ...payload, prompt: promptOf(type, payload as never) };
  const errors: unknown[] = [];
  for (let attempt = 1; attempt <= most; attempt++) {
    try {
      const delivery = { id, type, key, seq, n, payload: structuredClone(words), attempt, signal };
      await receive(delivery as Delivery);
      return { taken: true, attempts: attempt, errors };
    } catch (error) {
      errors.push(error);
    }
  }
  return { taken: false, attempts: most, errors };
}
