/**
 * A contract as a runtime knows it: whether it is the gateway's. No I/O here.
 *
 * Requests are judged before they come here, answers when they are back at the gateway.
 */

import { createHash } from "node:crypto";

export interface Contract {
  name: string;
  /** SHA-256 of the bytes of subsystem.json as they lie there, as the gateway computes it. */
  digest: string;
}

/** Return the contract that a subsystem.json, read whole, is. Throws for what is no such file. */
export function contractOf(file: string | Uint8Array): Contract {
  const text = typeof file === "string" ? file : new TextDecoder().decode(file);
  const { name } = (JSON.parse(text) ?? {}) as { name?: unknown };
  if (typeof name !== "string") throw new Error(`expected a contract with a name, got ${name}`);
  return { name, digest: createHash("sha256").update(file).digest("hex") };
}
