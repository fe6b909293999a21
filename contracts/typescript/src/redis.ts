/** Connections that survive their Redis, and say so once. */

import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "node:tls";

import { Redis } from "ioredis";

import type { Logger } from "./logger.ts";

const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 2000;
/** A Redis that is silent for so long is taken for gone: no wait of ours may be longer. */
const SILENCE_MS = 10_000;
const STRANGER_MS = 3000;
export const LONGEST_WAIT_MS = SILENCE_MS / 2;

/** Say once, after a while, that a Redis does not look like the bridge's. */
export class Stranger {
  readonly #redis: Redis;
  readonly #logger: Logger;
  #since: number | undefined;
  #said = false;

  constructor(redis: Redis, logger: Logger) {
    this.#redis = redis;
    this.#logger = logger;
  }

  /** Tell whether a gateway has announced itself there. */
  seen(known: boolean): void {
    if (known) {
      this.#since = undefined;
      this.#said = false;
      return;
    }
    this.#since ??= performance.now(); // a gateway may be about to start
    if (this.#said || performance.now() - this.#since < STRANGER_MS) return;
    this.#said = true;
    const { host, port } = this.#redis.options;
    this.#logger.warn(
      `no gateway has announced itself at ${host}:${port}, so nothing is written there: ` +
        "is it the bridge's own Redis, `redis_url` in .bridge/run.json?",
    );
  }
}

/** The address of the bridge's Redis: the one given, else BRIDGE_REDIS_URL. */
export function addressOf(redisUrl: string | undefined): string {
  const url = redisUrl || process.env["BRIDGE_REDIS_URL"];
  if (url) return url;
  throw new Error(
    "redisUrl: expected the address of the bridge's own Redis (`redis_url` in .bridge/run.json)" +
      ", here or in BRIDGE_REDIS_URL, got none",
  );
}

/**
 * Connect, and reconnect with backoff for ever.
 *
 * While there is no connection commands fail at once: who sends them knows whether to repeat
 * them. `logger` gets one line when Redis goes, one when it is back.
 */
export function connect(url: string, name: string, logger?: Logger): Redis {
  const { address, tls } = tlsOf(url);
  const redis = new Redis(address, {
    ...(tls && { tls }),
    connectionName: name,
    protocol: 2, // RESP3 gives streams another shape
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    socketTimeout: SILENCE_MS,
    retryStrategy: (times) => {
      const longest = Math.min(FIRST_RETRY_MS * 2 ** times, LAST_RETRY_MS);
      return longest * (0.5 + Math.random() / 2);
    },
  });
  let said: "gone" | "here" | undefined;
  const say = (what: "gone" | "here", line: string): void => {
    if (said !== what) logger?.[what === "here" ? "info" : "warn"](line);
    said = what;
  };
  const { host, port } = redis.options;
  redis.on("ready", () => {
    say("here", `Redis at ${host}:${port} answers`);
  });
  redis.on("error", (error: Error) => {
    say("gone", `Redis at ${host}:${port} does not answer, trying again: ${error.message}`);
  });
  // Not on "close", which comes also when we end it ourselves.
  redis.on("reconnecting", () => {
    say("gone", `Redis at ${host}:${port} closed the connection, trying again`);
  });
  return redis;
}

/** What a `rediss://` address says of certificates: redis-py's parameters, which name PEM files. */
function tlsOf(url: string): { address: string; tls?: ConnectionOptions } {
  if (!url.startsWith("rediss://")) return { address: url };
  const parsed = new URL(url);
  const file = (name: string): Buffer | undefined => {
    const path = parsed.searchParams.get(name);
    parsed.searchParams.delete(name);
    return path === null ? undefined : readFileSync(path);
  };
  const [ca, cert, key] = [file("ssl_ca_certs"), file("ssl_certfile"), file("ssl_keyfile")];
  const tls = { ...(ca && { ca }), ...(cert && { cert, key: key ?? cert }) };
  return { address: parsed.href, tls };
}

/** Say whether a command failed for want of a connection, not by Redis's word. */
export function isDisconnect(error: Error): boolean {
  return (
    error.name === "MaxRetriesPerRequestError" ||
    typeof (error as NodeJS.ErrnoException).code === "string" ||
    /^(Connection is closed|Stream isn't writeable)/.test(error.message)
  );
}

/** Wait until the connection can be used, or the signal says to stop waiting. */
export async function usable(redis: Redis, signal: AbortSignal): Promise<boolean> {
  if (redis.status === "ready" || signal.aborted) return !signal.aborted;
  return await new Promise((resolve) => {
    const settle = (): void => {
      redis.off("ready", settle);
      signal.removeEventListener("abort", settle);
      resolve(!signal.aborted);
    };
    redis.once("ready", settle);
    signal.addEventListener("abort", settle);
  });
}
