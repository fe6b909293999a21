import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";

import { Refusal, type Context } from "../src/implementation.ts";
import {
  LoadError,
  loadContracts,
  loadHandler,
  loadHandlers,
  type Loaded,
} from "../src/load.ts";
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

test("what was kept is loaded, whatever became of the file and what is beside it", async () => {
  await written("more.ts", "export const more = 1;");
  const text = `
    import { more } from "./more.ts";
    import { Refusal } from "joelclaw-bridge";
    export const handle = (state: unknown) => {
      if (state === null) throw new Refusal("no");
      return { reply: more };
    };`;
  const path = await written("kept.ts", text);
  const file = await written("of_kept.json", JSON.stringify({ kept: { typescript: path } }));
  const keptIn = join(folder, "builds", "typescript");
  const load = async (): Promise<Loaded> => {
    const { kept } = await loadHandlers(file, (error) => assert.fail(error.message), keptIn);
    return kept as Loaded;
  };
  const first = await load();
  const record = JSON.parse(await readFile(join(keptIn, "kept.json"), "utf8"));
  assert.deepEqual(Object.keys(record.sources), [path, join(folder, "more.ts")]);
  const digests = Object.entries(record.sources as Record<string, string>);
  const whole = digests.map(([source, digest]) => `${basename(source)} ${digest}`).join("\n");
  assert.equal(first.build, createHash("sha256").update(whole).digest("hex").slice(0, 12));
  await rm(path);
  await written("more.ts", "export const more = 2;");
  const { handle, build } = await load();
  assert.equal(build, first.build);
  assert.deepEqual(handle({}, "any", {}, {} as Context), { reply: 1 });
  assert.throws(() => handle(null, "any", {}, {} as Context), Refusal);
});

test("of what cannot be loaded nothing is kept", async () => {
  const path = await written("unkept.ts", "export const handle = {");
  const file = await written("of_unkept.json", JSON.stringify({ unkept: { typescript: path } }));
  const refused: string[] = [];
  const keptIn = join(folder, "builds", "typescript");
  assert.deepEqual(await loadHandlers(file, (error) => refused.push(error.message), keptIn), {});
  assert.match(refused.join(), /unkept\.ts: unkept\.ts:1:24: /);
  await written("unkept.ts", "export const handle = () => ({ reply: 1 });");
  const { unkept } = await loadHandlers(file, (error) => assert.fail(error.message), keptIn);
  assert.deepEqual(unkept?.handle({}, "any", {}, {} as Context), { reply: 1 });
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
  const fail = (error: LoadError): void => assert.fail(error.message);
  const own = join(folder, "mine", "nothing");
  await mkdir(own, { recursive: true });
  await writeFile(
    join(own, "subsystem.json"),
    JSON.stringify({ name: "nothing", state: {}, operations: {} }),
  );
  for (const place of [join(folder, "mine"), own]) {
    assert.deepEqual(Object.keys(await loadContracts([place], ["nothing"], fail)), ["nothing"]);
    assert.deepEqual(await loadContracts([place], ["something"], fail), {});
  }
});

test("a contract that cannot be read is named, and the others are there", async () => {
  await mkdir(join(folder, "two", "bad"), { recursive: true });
  await mkdir(join(folder, "two", "good"));
  await writeFile(join(folder, "two", "bad", "subsystem.json"), "{");
  await writeFile(join(folder, "two", "good", "subsystem.json"), '{"name": "good"}');
  const refused: string[] = [];
  const found = await loadContracts([join(folder, "two")], ["bad", "good"], ({ message }) => {
    refused.push(message);
  });
  assert.deepEqual(Object.keys(found), ["good"]);
  assert.match(refused.join("\n"), /bad\/subsystem\.json: not JSON/);
});
