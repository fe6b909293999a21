/**
 * A user's program that serves `heartbeat`, whose handler leaves promises and a timer behind.
 * With `promise` or `timer` the program leaves one itself. Prints a line of JSON for each event.
 */

import type { Handler } from "../src/implementation.ts";
import { serve } from "../src/serve.ts";
import { builtIn } from "./contracts.ts";

const handle: Handler = () => {
  void (async () => {
    await undefined;
    throw new Error("left behind");
  })();
  setTimeout(() => void Promise.reject(new Error("left to a timer")));
  setTimeout(() => {
    throw new Error("left a timer");
  });
  return { reply: { last_ms: null, next_ms: null, runs: 0, skipped: 0 } };
};
const service = serve({ heartbeat: handle }, { contracts: { heartbeat: builtIn("heartbeat") } });
service.on("fault", ({ error, ...fault }) => {
  console.log(JSON.stringify({ ...fault, error: String(error) }));
});
service.on("ready", (name) => {
  console.log(JSON.stringify({ ready: name }));
  if (process.argv[2] === "promise") void Promise.reject(new Error("its own"));
  if (process.argv[2] === "timer") {
    setTimeout(() => {
      throw new Error("its own");
    });
  }
});
process.once("SIGTERM", () => void service.close());
