/** The built-in contracts, as `serve` takes them. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { contractOf, type Contract } from "../src/contract.ts";
import { CONTRACTS } from "./paths.ts";

export function builtIn(name: string): Contract {
  return contractOf(readFileSync(join(CONTRACTS, "subsystems", name, "subsystem.json")));
}
