/**
 * The TypeScript service: `node dist/main.js`, or `bun src/main.ts`.
 *
 * Serves the built-in subsystems and those of BRIDGE_IMPLEMENTATIONS, of all whose contracts are
 * in the folders of BRIDGE_CONTRACTS, on the Redis of BRIDGE_REDIS_URL. Leaves on SIGTERM, SIGINT,
 * and with BRIDGE_PARENT_STDIN=1 when its standard input ends: who started it is gone.
 */

import { join } from "node:path";

import { sayAlive, touch } from "./alive.ts";
import type { Handler } from "./implementation.ts";
import { LoadError, loadActivities, loadContracts, loadHandlers } from "./load.ts";
import { toStderr, whole } from "./logger.ts";
import { serve } from "./serve.ts";
import * as heartbeat from "./subsystems/heartbeat.ts";
import * as sessions from "./subsystems/sessions.ts";
import * as terminal from "./subsystems/terminal.ts";
import * as triage from "./subsystems/triage.ts";
import { listen } from "./unheard.ts";

const logger = toStderr("bridge-typescript: ");
const log = (line: string): void => logger.error(line);

async function main(env: NodeJS.ProcessEnv): Promise<void> {
  process.setSourceMapsEnabled(true); // faults name lines of the handlers' sources
  // What a module of yours left behind when it was loaded is no reason to leave the others.
  listen((reason) => logger.error(`a promise or timer failed unheard: ${whole(reason)}`));
  const file = env["BRIDGE_IMPLEMENTATIONS"];
  const builds = env["BRIDGE_BUILDS"];
  const yours = file
    ? await loadHandlers(
        builds ? join(builds, "implementations.json") : file,
        ({ message }) => log(message),
        builds && join(builds, "typescript"),
      )
    : {};
  const activities = file ? await loadActivities(file, ({ message }) => log(message)) : {};
  const folders = (env["BRIDGE_CONTRACTS"] ?? "").split(":").filter((folder) => folder !== "");
  const builtIn: Record<string, Handler> = {
    heartbeat: heartbeat.handle,
    sessions: sessions.handle,
    terminal: terminal.handle,
    triage: triage.handle,
  };
  const all = { ...builtIn, ...mapped(yours, ({ handle }) => handle) };
  const contracts = await loadContracts(folders, Object.keys(all), ({ message }) => log(message));
  for (const name of Object.keys(all)) {
    if (contracts[name]) continue;
    log(`${name}: left out, there is no contract of it in ${folders.join(":") || "BRIDGE_CONTRACTS"}`);
    delete all[name];
  }
  const service = serve(
    all,
    {
      activities,
      builds: mapped(yours, ({ build }) => build ?? ""),
      contracts,
      logger,
    },
  );
  const leave = async (): Promise<void> => {
    await service.close();
    process.exit(0);
  };
  if (env["BRIDGE_LISTENER"]) sayAlive(env["BRIDGE_LISTENER"]);
  if (env["BRIDGE_ALIVE_FILE"]) touch(env["BRIDGE_ALIVE_FILE"]);
  process.once("SIGTERM", leave).once("SIGINT", leave);
  if (env["BRIDGE_PARENT_STDIN"] === "1") {
    process.stdin.on("error", leave).on("close", leave).on("end", leave).resume();
  }
}

function mapped<T, U>(of: Record<string, T>, to: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(of).map(([name, value]) => [name, to(value)]));
}

try {
  await main(process.env);
} catch (error) {
  log(error instanceof LoadError ? error.message : String((error as Error).stack));
  process.exit(1);
}
