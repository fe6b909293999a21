/** Validators of contracts that came after this package was built. No I/O here. */

import { Ajv2020, type Options } from "ajv/dist/2020.js";

import {
  contractOf,
  schemasOf,
  type Check,
  type Contract,
  type ContractFile,
  type Effects,
} from "./contract.ts";
import { digest, type Json } from "./json.ts";

/** The generator uses the same: a built-in contract and one of yours are held alike. */
export const AJV_OPTIONS: Options = {
  strict: true,
  strictTypes: false, // ["integer", "null"] is in the subset, ajv calls it strange
  validateFormats: false, // annotations only, in the subset
};

/** Compile the contract of a parsed subsystem.json. Throws what ajv says of a bad schema. */
export function compileContract(file: ContractFile, effects: Effects): Contract {
  const ajv = new Ajv2020(AJV_OPTIONS);
  const checks: Record<string, Check> = {};
  for (const [name, schema] of schemasOf(file)) checks[name] = ajv.compile(schema) as Check;
  return contractOf(file, digest(file as unknown as Json), checks, effects);
}
