/** `node dist/check.js FILE`: say why an implementation cannot be loaded; exit code 1 then. */

import { loadHandler, LoadError } from "./load.ts";

const file = process.argv[2] as string;
try {
  await loadHandler(file);
} catch (error) {
  const why = (error as Error).message;
  console.error(error instanceof LoadError ? why : `${file}: ${why}`);
  process.exit(1);
}
process.exit(0); // whatever the module left running
