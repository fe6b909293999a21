/** Where things are; tests run from test/dist/test. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const PACKAGE = fileURLToPath(new URL("../../../", import.meta.url));
export const CONTRACTS = join(PACKAGE, "..");
export const TEST_SUBSYSTEMS = join(CONTRACTS, "..", "tests", "subsystems");

export function readJson<T>(...path: string[]): T {
  return JSON.parse(readFileSync(join(...path), "utf8")) as T;
}
