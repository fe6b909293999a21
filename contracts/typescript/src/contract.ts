/**
 * A contract as a runtime knows it: whether it is the gateway's. No I/O here.
 *
 * Requests are judged before they come here, answers when they are back at the gateway.
 */

import { digest, type Json } from "./json.ts";

export interface Contract {
  name: string;
  /** SHA-256 of the contract's canonical bytes, as the gateway computes it. */
  digest: string;
}

/** Return the contract of a parsed subsystem.json. Throws for what is no such file. */
export function contractOf(file: unknown): Contract {
  const { name } = (file ?? {}) as { name?: unknown };
  if (typeof name !== "string") throw new Error(`expected a contract with a name, got ${name}`);
  return { name, digest: digest(file as Json) };
}
