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
    case "first":
      if (call.attempt > 1) break;
    // falls through
    case "hang":
      await new Promise((_, reject) => {
        call.signal.addEventListener("abort", () => {
          note("aborted");
          reject(call.signal.reason);
        });
      });
      break;
    case "long":
      for (let n = 0; n < 12; n++) {
        await pause(200);
        call.heartbeat();
      }
  }
  return { text, attempt: call.attempt };
}

export const activities = [activity("there", there)];
