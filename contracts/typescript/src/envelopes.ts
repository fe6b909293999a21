/**
 * joelclaw's envelopes, held to contracts/joelclaw: `joelclaw-bridge/envelopes`. No I/O here.
 *
 * Needs the package ajv; its validators are made when an envelope is first read.
 */

import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";

import type { Envelopes } from "./generated/envelopes.ts";
import { schema } from "./generated/envelopes_schema.ts";
import { jsonType, parse, type Json } from "./json.ts";

export type * from "./generated/envelopes.ts";

/** What came is off its envelope; the text names pointer, rule and type. */
export class OffContract extends Error {
  override readonly name = "OffContract";
}

const validators = new Map<string, ValidateFunction>();

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
  const value = parse(text);
  const validate = validatorOf(name);
  if (!validate(value)) throw new OffContract(describe(name, validate, value));
  return value as unknown as Envelopes[Name];
}

function validatorOf(name: string): ValidateFunction {
  let validate = validators.get(name);
  if (!validate) {
    const { $defs } = schema;
    // strictTypes: ["integer", "null"] is in the contracts' subset, ajv calls it strange.
    const ajv = new Ajv2020({ strictTypes: false, validateFormats: false });
    validate = ajv.compile({ $defs, $ref: `#/$defs/${name}` });
    validators.set(name, validate);
  }
  return validate;
}

function describe(name: string, { errors }: ValidateFunction, value: Json): string {
  // The last error is the outermost: of a oneOf, the oneOf itself.
  const broken = errors?.at(-1);
  const at = broken?.instancePath ?? "";
  const came = jsonType(valueAt(value, at));
  const rule = `breaks ${broken?.keyword ?? "its schema"}: ${broken?.message ?? "not valid"}`;
  return `joelclaw ${name}: ${at || "(whole value)"} ${rule}, got ${came}`;
}

function valueAt(value: Json, pointer: string): unknown {
  let at: unknown = value;
  for (const token of pointer.split("/").slice(1)) {
    if (typeof at !== "object" || at === null) return undefined;
    at = (at as Record<string, unknown>)[token.replaceAll("~1", "/").replaceAll("~0", "~")];
  }
  return at;
}
