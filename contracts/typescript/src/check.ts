/** `node dist/check.js FILE`: say why an implementation cannot be loaded; exit code 1 then. */

import { loadHandler, LoadError } from "./load.ts";

try {
  await loadHandler(process.argv[2] as string);
} catch (error) {
  console.error(error instanceof LoadError ? error.message : String((error as Error).stack));
  process.exit(1);
}
process.exit(0); // whatever the module left running
