/**
 * A user's program that takes deliveries. Its prompts say how: `fail`, `fail 2` (that often),
 * `exit`, `gate` (until a line comes in), `heed` (until its signal is aborted), else at once.
 * Prints a line of JSON when one begins and when it is taken.
 */

import { createInterface } from "node:readline";

import { deliver, type Prompt } from "../src/deliver.ts";

const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
const lines = createInterface({ input: process.stdin });
const line = async (): Promise<void> => {
  await new Promise((resolve) => lines.once("line", resolve));
};

const deliverer = deliver(
  async ({ signal, ...delivery }) => {
    const { id, attempt } = delivery;
    say({ begun: id, ...delivery });
    const [how, often = Infinity] = String((delivery.payload as Prompt).prompt).split(" ");
    if (how === "fail" && attempt <= Number(often)) {
      throw new Error(`no ${attempt}`, { cause: new Error("why") });
    }
    if (how === "exit" && attempt === 1) process.exit(1);
    if (how === "gate") await line();
    if (how === "heed") {
      await new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason as Error));
      });
    }
    say({ taken: id, lost: signal.aborted });
  },
  {
    leaseMs: Number(process.env["LEASE_MS"]),
    closeMs: Number(process.env["CLOSE_MS"] ?? 60_000),
    firstRetryMs: 1,
  },
);
process.once("SIGTERM", async () => {
  await deliverer.close();
  process.exit(0);
});
