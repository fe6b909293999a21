/** A real redis-server on a free port, with an append-only file in a folder of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "./deadline.js";
export class RedisServer {
    port;
    #folder = mkdtempSync(join(tmpdir(), "bridge-redis-"));
    #process;
    constructor(port) {
        this.port = port;
    }
    static async start() {
        const server = new RedisServer(await freePort());
        await server.restart();
        return server;
    }
    get url() {
        return `redis://127.0.0.1:${this.port}`;
    }
    async restart() {
        const settings = { port: this.port, dir: this.#folder, bind: "127.0.0.1", appendonly: "yes" };
        const args = Object.entries({ ...settings, save: "" }).flatMap(([k, v]) => [`--${k}`, `${v}`]);
        this.#process = spawn("redis-server", args, { stdio: "ignore" });
        await eventually("Redis accepts connections", () => accepts(this.port));
    }
    async kill9() {
        const process = this.#process;
        const gone = once(process, "exit");
        process.kill("SIGKILL");
        await gone;
    }
    stop() {
        this.#process?.kill("SIGSTOP");
    }
    cont() {
        this.#process?.kill("SIGCONT");
    }
    async close() {
        if (this.#process?.exitCode === null && this.#process.signalCode === null)
            await this.kill9();
        rmSync(this.#folder, { recursive: true });
    }
}
async function freePort() {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address();
    server.close();
    await once(server, "close");
    return port;
}
async function accepts(port) {
    const socket = connect(port, "127.0.0.1");
    try {
        await once(socket, "connect");
        return true;
    }
    catch {
        return false;
    }
    finally {
        socket.destroy();
    }
}
