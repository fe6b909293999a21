/** Contracts and implementations from outside this package. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

import type { BuildFailure } from "esbuild";

import type { Activity } from "./activity.ts";
import { contractOf, type Contract } from "./contract.ts";
import { migrating, requireFunction, type Handler, type Migrate } from "./implementation.ts";

const FILE = "subsystem.json";
// What an implementation imports to use this package; wherever it is, it gets this very copy.
const SDK = /^joelclaw-bridge$/;
// CommonJS packages inside the bundle require Node's own modules.
const REQUIRE =
  'import { createRequire } from "node:module";\n' +
  "const require = createRequire(import.meta.url);";

/** A handler, and which version of its sources it is, if that was kept. */
export interface Loaded {
  handle: Handler;
  build?: string;
}

let offered: Promise<void> | undefined;

/** A file that cannot be served; the text names it. */
export class LoadError extends Error {
  override readonly name = "LoadError";
}

/**
 * Read an implementations file: `{"<subsystem>": {"typescript": "./file.ts"}}`.
 *
 * Paths are relative to the file. Entries without `typescript` are other runtimes' business.
 * One that cannot be loaded is left out and given to `refused`: the others are to be served.
 * In the folder `keptIn`, if any, what was loaded is kept, and from then on that is loaded.
 */
export async function loadHandlers(
  file: string,
  refused: (error: LoadError) => void,
  keptIn?: string,
): Promise<Record<string, Loaded>> {
  const entries = Object.entries(await readJson<Record<string, { typescript?: string }>>(file));
  const handlers: Record<string, Loaded> = {};
  for (const [subsystem, { typescript }] of entries) {
    if (typescript === undefined) continue;
    const path = resolve(dirname(file), typescript);
    try {
      handlers[subsystem] = keptIn
        ? await loadKept(path, join(keptIn, subsystem))
        : { handle: await loadHandler(path) };
    } catch (error) {
      if (!(error instanceof LoadError)) throw error;
      refused(error);
    }
  }
  return handlers;
}

/**
 * Import the activities an implementations file names: the export `activities` of each module.
 *
 * One that cannot be loaded is given to `refused`.
 */
export async function loadActivities(
  file: string,
  refused: (error: LoadError) => void,
): Promise<Record<string, Activity[]>> {
  type Entry = { activities?: { typescript?: string } };
  const found: Record<string, Activity[]> = {};
  for (const [subsystem, entry] of Object.entries(await readJson<Record<string, Entry>>(file))) {
    const where = entry.activities?.typescript;
    if (where === undefined) continue;
    const path = resolve(dirname(file), where);
    try {
      found[subsystem] = activitiesIn(await importModule(path), path);
    } catch (error) {
      if (!(error instanceof LoadError)) throw error;
      refused(error);
    }
  }
  return found;
}

function activitiesIn({ activities }: { activities?: unknown }, path: string): Activity[] {
  const named = (each: unknown): boolean =>
    typeof (each as Activity)?.name === "string" &&
    typeof (each as Activity).perform === "function";
  if (Array.isArray(activities) && activities.every(named)) return activities as Activity[];
  throw new LoadError(`${path}: expected \`export const activities = [activity(name, …), …]\``);
}

/**
 * Read the contracts of these subsystems; the first folder that has one wins.
 *
 * A folder may also be one subsystem's own. A file that cannot be read is given to `refused`.
 */
export async function loadContracts(
  folders: readonly string[],
  subsystems: readonly string[],
  refused: (error: LoadError) => void,
): Promise<Record<string, Contract>> {
  const contracts: Record<string, Contract> = {};
  for (const folder of [...folders].reverse()) {
    for (const subsystem of subsystems) {
      for (const path of [join(folder, FILE), join(folder, subsystem, FILE)]) {
        try {
          const contract = contractOf(await readFile(path));
          if (contract.name === subsystem) contracts[subsystem] = contract;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
          const what = error instanceof SyntaxError ? "not JSON: " : "";
          refused(new LoadError(`${path}: ${what}${(error as Error).message}`, { cause: error }));
        }
      }
    }
  }
  return contracts;
}

/** Import a module's `handle`. Bun reads TypeScript by itself; for Node it is bundled first. */
export async function loadHandler(path: string): Promise<Handler> {
  return handleIn(await importModule(path), path);
}

async function importModule(path: string): Promise<{ handle?: unknown; activities?: unknown }> {
  const bun = process.versions["bun"] !== undefined;
  const bundled = /\.m?ts$/.test(path) && !bun;
  try {
    if (bun) await (offered ??= offerToBun());
    return bundled ? await importTypeScript(path) : await import(pathToFileURL(path).href);
  } catch (error) {
    if (error instanceof LoadError) throw error;
    throw new LoadError(`${path}: ${reason(error)}`, { cause: error });
  }
}

async function handleOf(file: string, path: string): Promise<Handler> {
  try {
    return handleIn(await import(pathToFileURL(file).href), path);
  } catch (error) {
    if (error instanceof LoadError) throw error;
    throw new LoadError(`${path}: ${reason(error)}`, { cause: error });
  }
}

function handleIn(module: { handle?: unknown; migrate?: unknown }, path: string): Handler {
  if (typeof module.handle !== "function") {
    throw new LoadError(`${path}: expected an export named handle, got ${typeof module.handle}`);
  }
  requireFunction("handle", module.handle); // the caller names the file
  const handle = module.handle as Handler;
  return module.migrate === undefined ? handle : migrating(handle, module.migrate as Migrate);
}

/** Import what was kept of a module; if nothing was, bundle it and keep that. */
async function loadKept(path: string, kept: string): Promise<Loaded> {
  try {
    let record = await readJson<{ digest: string }>(`${kept}.json`, true);
    if (record === undefined) {
      await mkdir(dirname(kept), { recursive: true });
      record = buildOf(await bundle(path, `${kept}.mjs`));
      await writeFile(`${kept}.json.new`, JSON.stringify(record));
      await rename(`${kept}.json.new`, `${kept}.json`);
    }
    return { handle: await handleOf(`${kept}.mjs`, path), build: record.digest };
  } catch (error) {
    if (error instanceof LoadError) throw error;
    throw new LoadError(`${path}: ${reason(error)}`, { cause: error });
  }
}

/** Node 20 cannot read TypeScript, and later ones only part of it: one way for all. */
async function importTypeScript(path: string): Promise<object> {
  const folder = await mkdtemp(join(tmpdir(), "bridge-typescript-"));
  const outfile = join(folder, "implementation.mjs");
  try {
    await bundle(path, outfile);
    return await import(pathToFileURL(outfile).href);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Write a module with all it imports; return the files it was made of. */
async function bundle(path: string, outfile: string): Promise<string[]> {
  const { build } = await import("esbuild").catch(() => {
    throw new LoadError(`${path}: under Node a .ts file needs esbuild: \`npm install esbuild\``);
  });
  const { metafile } = await build({
    entryPoints: [path],
    absWorkingDir: dirname(path), // errors name files from there
    outfile,
    bundle: true, // its packages too: from another folder they would not be found
    format: "esm",
    platform: "node",
    sourcemap: "inline",
    logLevel: "silent",
    metafile: true,
    banner: { js: REQUIRE },
    plugins: [
      {
        name: "sdk",
        setup: ({ onResolve }) =>
          onResolve({ filter: SDK }, () => ({ path: sdk(), external: true })),
      },
    ],
  });
  return Object.keys(metafile.inputs).map((file) => resolve(dirname(path), file));
}

/** As `bridge.contracts.builds` has it: digests of all files, and one of names and digests. */
function buildOf(files: readonly string[]): { digest: string; sources: Record<string, string> } {
  const sha256 = (data: string | Buffer): string =>
    createHash("sha256").update(data).digest("hex");
  const sources: Record<string, string> = {};
  for (const file of [...files].sort()) sources[file] = sha256(readFileSync(file));
  const whole = Object.entries(sources).map(([file, digest]) => `${basename(file)} ${digest}`);
  return { digest: sha256(whole.join("\n")).slice(0, 12), sources };
}

/** Say in one line why a module does not load: of a build, each fault with its place. */
function reason(error: unknown): string {
  const { errors, message } = error as Error & Partial<BuildFailure>;
  const faults = errors?.map(({ text, location: at }) =>
    at ? `${at.file}:${at.line}:${at.column + 1}: ${text}` : text,
  );
  return faults?.join("; ") ?? message;
}

/** Return this package's address: built, or its sources under Bun. */
function sdk(): string {
  const here = import.meta.url;
  return new URL(here.endsWith(".ts") ? "./index.ts" : "./index.js", here).href;
}

async function offerToBun(): Promise<void> {
  interface Builder {
    module(name: string, load: () => Promise<{ exports: object; loader: "object" }>): void;
  }
  const { plugin } = (globalThis as unknown as { Bun: { plugin(_: object): void } }).Bun;
  const exports = (await import(sdk())) as object;
  plugin({
    name: "sdk",
    setup: (build: Builder) =>
      build.module("joelclaw-bridge", async () => ({ exports, loader: "object" })),
  });
}

async function readJson<T>(path: string, optional: true): Promise<T | undefined>;
async function readJson<T>(path: string): Promise<T>;
async function readJson<T>(path: string, optional?: true): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (optional && (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new LoadError(`${path}: ${(error as Error).message}`, { cause: error });
  }
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw new LoadError(`${path}: not JSON: ${(error as Error).message}`, { cause: error });
  }
}
