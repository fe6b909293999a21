/** A real redis-server on a free port, with an append-only file in a folder of its own. */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { eventually } from "./deadline.ts";

export class RedisServer {
  readonly port: number;
  readonly #folder = mkdtempSync(join(tmpdir(), "bridge-redis-"));
  #process: ChildProcess | undefined;

  private constructor(port: number) {
    this.port = port;
  }

  static async start(): Promise<RedisServer> {
    const server = new RedisServer(await freePort());
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
    this.#process = spawn("redis-server", args, { stdio: "ignore" });
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
