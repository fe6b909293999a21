/** joelclaw's envelopes, held to contracts/joelclaw. No I/O here. */

import { hold } from "./contract.ts";
import type { Envelopes } from "./generated/envelopes.ts";
import { validators } from "./generated/validators.ts";
import { parse } from "./json.ts";

export type * from "./generated/envelopes.ts";

/**
 * Read one item, message, body or frame of joelclaw's.
 *
 * Throws OffContract, which names pointer and rule; SyntaxError or NotSerialisable for what
 * cannot be read as JSON that all languages share.
 */
export function readEnvelope<Name extends keyof Envelopes>(
  name: Name,
  text: string,
): Envelopes[Name] {
  const check = validators["envelopes"]?.[name];
  if (!check) throw new Error(`no validator for ${name}, expected one`);
  const value = parse(text);
  hold(check, value, `joelclaw ${name}`);
  return value as unknown as Envelopes[Name];
}
