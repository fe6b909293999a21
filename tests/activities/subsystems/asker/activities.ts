/** What `asker` asks for in TypeScript: it does what the text says. */

import { appendFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

import { activity, NotRetryable } from "joelclaw-bridge";

interface Text {
  text: string;
}

async function there({ text }: Text, call: import("joelclaw-bridge").ActivityCall) {
  const note = (what: string): void => {
    const line = `${call.idempotencyKey} ${call.attempt} ${what}\n`;
    if (process.env["ASKED"]) appendFileSync(process.env["ASKED"], line);
  };
  note(text);
  switch (text.split(" ")[0]) {
    case "fail":
      throw new Error(`failed at ${call.attempt}`);
    case "never":
      throw new NotRetryable("no use", { why: "never" });
    case "wait":
      setInterval(call.heartbeat, 200).unref();
    // falls through
    case "first":
      if (text === "first" && call.attempt > 1) break;
      await new Promise((_, reject) => {
        call.signal.addEventListener("abort", () => {
          note("aborted");
          reject(call.signal.reason);
        });
      });
      break;
    case "long":
    case "longest":
      for (let n = 0; n < (text === "longest" ? 50 : 12); n++) {
        await pause(200);
        call.heartbeat();
      }
  }
  return { text, attempt: call.attempt };
}

export const activities = [activity("there", there), activity("quiet", there)];
