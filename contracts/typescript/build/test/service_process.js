/** The service as `bridge up` starts it, in a process of its own. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
const PACKAGE = join(import.meta.dirname, "..", "..");
const TESTS = join(PACKAGE, "..", "..", "tests", "subsystems");
/** Start commands by runtime; Bun only where it is installed. */
export const COMMANDS = {
    node: [process.execPath, join(PACKAGE, "dist", "main.js")],
};
const bun = process.env["BUN"] ?? "bun";
if (spawnSync(bun, ["--version"]).status === 0) {
    COMMANDS["bun"] = [bun, join(PACKAGE, "src", "main.ts")];
}
export class ServiceProcess {
    lines = [];
    exited;
    #process;
    constructor(runtime, redisUrl, env = {}) {
        const [command, ...args] = COMMANDS[runtime];
        this.#process = spawn(command, args, {
            stdio: ["pipe", "ignore", "pipe"],
            env: {
                ...process.env,
                BRIDGE_REDIS_URL: redisUrl,
                BRIDGE_CONTRACTS: TESTS,
                BRIDGE_IMPLEMENTATIONS: join(TESTS, "implementations.json"),
                ...env,
            },
        });
        this.#process.stderr?.setEncoding("utf8").on("data", (text) => {
            this.lines.push(...text.split("\n").filter((line) => line !== ""));
        });
        this.exited = once(this.#process, "exit").then(([code]) => code);
    }
    signal(signal) {
        this.#process.kill(signal);
    }
    endInput() {
        this.#process.stdin?.end();
    }
    async kill9() {
        this.signal("SIGKILL");
        await this.exited;
    }
}
