/** The service as `bridge up` starts it, in a process of its own. */

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

import { CONTRACTS, PACKAGE, TEST_SUBSYSTEMS } from "./paths.ts";

/** Start commands by runtime; Bun only where it is installed. */
export const COMMANDS: Record<string, string[]> = {
  node: [process.execPath, join(PACKAGE, "dist", "main.js")],
};
const bun = process.env["BUN"] ?? "bun";
if (spawnSync(bun, ["--version"]).status === 0) {
  COMMANDS["bun"] = [bun, join(PACKAGE, "src", "main.ts")];
}

export class ServiceProcess {
  readonly lines: string[] = [];
  readonly exited: Promise<number | null>;
  readonly #process: ChildProcess;

  constructor(runtime: string, redisUrl: string, env: Record<string, string> = {}) {
    const [command, ...args] = COMMANDS[runtime] as [string, ...string[]];
    this.#process = spawn(command, args, {
      stdio: ["pipe", "ignore", "pipe"],
      env: {
        ...process.env,
        BRIDGE_REDIS_URL: redisUrl,
        BRIDGE_CONTRACTS: [join(CONTRACTS, "subsystems"), TEST_SUBSYSTEMS].join(":"),
        BRIDGE_IMPLEMENTATIONS: join(TEST_SUBSYSTEMS, "implementations.json"),
        ...env,
      },
    });
    this.#process.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.lines.push(...text.split("\n").filter((line) => line !== ""));
    });
    this.exited = once(this.#process, "exit").then(([code]) => code as number | null);
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  endInput(): void {
    this.#process.stdin?.end();
  }

  async kill9(): Promise<void> {
    this.signal("SIGKILL");
    await this.exited;
  }
}
