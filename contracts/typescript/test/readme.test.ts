import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { PACKAGE } from "./paths.ts";

/** What the examples leave out: the reader's own. */
const YOURS = `
declare global {
  interface State { total: number }
  interface Request { n: number }
  interface Counter {
    state: State;
    operations: { add: { request: { n: number }; reply: { total: number } } };
    events: { "counter.added": { total: number } };
  }
  const since: string | undefined;
  const agent: { prompt(text: string, options: { signal: AbortSignal }): Promise<void> };
  const item: string;
  const redisUrl: string | undefined;
  const text: string;
  const handle: import("joelclaw-bridge").Handler;
  function report(error: unknown, ...where: string[]): void;
}
export {};
`;

test("the examples of the README compile as they stand", () => {
  const readme = readFileSync(join(PACKAGE, "README.md"), "utf8");
  const examples = [...readme.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, code]) => `${code}`);
  assert.equal(examples.length, 6);
  const folder = mkdtempSync(join(PACKAGE, "test", "readme-")); // where packages are found from
  try {
    writeFileSync(join(folder, "yours.d.ts"), YOURS);
    examples.forEach((code, n) => writeFileSync(join(folder, `example${n}.ts`), code));
    const config = {
      extends: "../../tsconfig.json",
      compilerOptions: {
        noUnusedLocals: false,
        noUnusedParameters: false,
        paths: {
          "joelclaw-bridge": ["../../src/index.ts"],
          "joelclaw-bridge/client": ["../../src/client.ts"],
        },
      },
      include: ["."],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    const tsc = join(PACKAGE, "node_modules", ".bin", "tsc");
    const { stdout, status } = spawnSync(tsc, ["-p", folder], { encoding: "utf8" });
    assert.equal(stdout, "");
    assert.equal(status, 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
