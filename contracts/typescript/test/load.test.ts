import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { Refusal, type Context } from "../src/implementation.ts";
import { LoadError, loadContracts, loadHandler } from "../src/load.ts";
import { PACKAGE } from "./paths.ts";
import { COMMANDS } from "./service_process.ts";

let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "bridge-load-"));
});
after(() => rm(folder, { recursive: true }));

async function written(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

test("an implementation anywhere imports this package, and gets this very copy", async () => {
  const path = await written(
    "full.ts",
    `import { Refusal } from "joelclaw-bridge";
     export function handle(): never { throw new Refusal("full"); }`,
  );
  const handle = await loadHandler(path);
  assert.throws(() => handle({}, "add", {}, {} as Context), Refusal);
});

test("under Bun it does too", { skip: COMMANDS["bun"] === undefined }, async () => {
  const path = await written(
    "empty.ts",
    `import { Refusal } from "joelclaw-bridge";
     export function handle(): never { throw new Refusal("empty"); }`,
  );
  const program = `
    import { Refusal } from ${JSON.stringify(join(PACKAGE, "src", "implementation.ts"))};
    import { loadHandler } from ${JSON.stringify(join(PACKAGE, "src", "load.ts"))};
    const handle = await loadHandler(${JSON.stringify(path)});
    try { handle(); } catch (error) { console.log(error instanceof Refusal, error.reason); }`;
  const run = spawnSync(COMMANDS["bun"]?.[0] as string, ["-e", program], { encoding: "utf8" });
  assert.equal(run.stdout, "true empty\n", run.stderr);
});

test("what is beside it is bundled with it", async () => {
  await written("rules.ts", "export const most = 3;");
  const text = 'import { most } from "./rules.ts"; export const handle = () => ({ reply: most })';
  const handle = await loadHandler(await written("beside.ts", text));
  assert.deepEqual(handle({}, "most", {}, {} as Context), { reply: 3 });
});

for (const [name, text, fault] of [
  ["broken.ts", "\nexport const handle = {", /broken\.ts: broken\.ts:2:24: [^\n]+$/],
  ["missing.ts", 'import "no-such-one";', /missing\.ts:1:8: Could not resolve "no-such-one"/],
  ["other.ts", "export const handler = 1;", /expected an export named handle, got undefined$/],
] as const) {
  test(`${name} is refused in one line that says where it is wrong`, async () => {
    const path = await written(name, text);
    await assert.rejects(loadHandler(path), (error) => {
      assert.ok(error instanceof LoadError);
      assert.match(error.message, fault);
      return true;
    });
  });
}

test("a contract is found in a folder of subsystems, and in its own", async () => {
  const own = join(folder, "mine", "nothing");
  await mkdir(own, { recursive: true });
  await writeFile(
    join(own, "subsystem.json"),
    JSON.stringify({ name: "nothing", state: {}, operations: {} }),
  );
  for (const place of [join(folder, "mine"), own]) {
    assert.deepEqual(Object.keys(await loadContracts([place], ["nothing"])), ["nothing"]);
    assert.deepEqual(await loadContracts([place], ["something"]), {});
  }
});
