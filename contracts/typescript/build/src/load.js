/** Contracts and implementations from outside this package. */
var __rewriteRelativeImportExtension = (this && this.__rewriteRelativeImportExtension) || function (path, preserveJsx) {
    if (typeof path === "string" && /^\.\.?\//.test(path)) {
        return path.replace(/\.(tsx)$|((?:\.d)?)((?:\.[^./]+?)?)\.([cm]?)ts$/i, function (m, tsx, d, ext, cm) {
            return tsx ? preserveJsx ? ".jsx" : ".js" : d && (!ext || !cm) ? m : (d + ext + "." + cm.toLowerCase() + "js");
        });
    }
    return path;
};
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { compileContract } from "./compile.js";
import { effects } from "./generated/contracts.js";
/** A file that cannot be served; the text names it. */
export class LoadError extends Error {
    name = "LoadError";
}
/**
 * Read an implementations file: `{"<subsystem>": {"typescript": "./file.ts"}}`.
 *
 * Paths are relative to the file. Entries without `typescript` are other runtimes' business.
 */
export async function loadHandlers(file) {
    const entries = Object.entries(await readJson(file));
    const handlers = {};
    for (const [subsystem, { typescript }] of entries) {
        if (typescript === undefined)
            continue;
        handlers[subsystem] = await loadHandler(resolve(dirname(file), typescript));
    }
    return handlers;
}
/** Compile the contracts of these subsystems; the first folder that has one wins. */
export async function loadContracts(folders, subsystems) {
    const contracts = {};
    for (const folder of [...folders].reverse()) {
        for (const subsystem of subsystems) {
            const path = join(folder, subsystem, "subsystem.json");
            const file = await readJson(path, true);
            if (file)
                contracts[subsystem] = compile(file, path);
        }
    }
    return contracts;
}
/** Import a module's `handle`. Bun reads TypeScript by itself; for Node it is bundled first. */
export async function loadHandler(path) {
    const bundle = /\.m?ts$/.test(path) && process.versions["bun"] === undefined;
    let module;
    try {
        module = bundle ? await importTypeScript(path) : await import(__rewriteRelativeImportExtension(pathToFileURL(path).href));
    }
    catch (error) {
        throw new LoadError(`${path}: ${error.message}`, { cause: error });
    }
    if (typeof module.handle === "function")
        return module.handle;
    throw new LoadError(`${path}: expected an export named handle, got ${typeof module.handle}`);
}
/** Node 20 cannot read TypeScript, and later ones only part of it: one way for all. */
async function importTypeScript(path) {
    const { build } = await import("esbuild");
    const folder = await mkdtemp(join(tmpdir(), "bridge-typescript-"));
    const outfile = join(folder, "implementation.mjs");
    try {
        await build({
            entryPoints: [path],
            outfile,
            bundle: true, // its packages too: from the temporary folder they would not be found
            format: "esm",
            platform: "node",
            sourcemap: "inline",
            logLevel: "silent",
            banner: {
                js: 'import { createRequire } from "node:module";const require=createRequire(import.meta.url);',
            },
        });
        return await import(__rewriteRelativeImportExtension(pathToFileURL(outfile).href));
    }
    finally {
        await rm(folder, { recursive: true });
    }
}
function compile(file, path) {
    try {
        return compileContract(file, effects);
    }
    catch (error) {
        throw new LoadError(`${path}: ${error.message}`, { cause: error });
    }
}
async function readJson(path, optional) {
    let text;
    try {
        text = await readFile(path, "utf8");
    }
    catch (error) {
        if (optional && error.code === "ENOENT")
            return undefined;
        throw new LoadError(`${path}: ${error.message}`, { cause: error });
    }
    try {
        return JSON.parse(text);
    }
    catch (error) {
        throw new LoadError(`${path}: not JSON: ${error.message}`, { cause: error });
    }
}
