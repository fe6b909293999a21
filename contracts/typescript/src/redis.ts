/** Connections that survive their Redis, and say so once. */

import { Redis } from "ioredis";

export type Log = (line: string) => void;

const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 2000;
/** Every connection hears from Redis at least once a second. */
const SILENCE_MS = 10_000;

/**
 * Connect, and reconnect with backoff for ever.
 *
 * While there is no connection commands fail at once: who sends them knows whether to repeat
 * them. `log` gets one line when Redis goes, one when it is back.
 */
export function connect(url: string, name: string, log?: Log): Redis {
  const redis = new Redis(url, {
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
    if (said !== what) log?.(line);
    said = what;
  };
  const { host, port } = redis.options;
  redis.on("ready", () => {
    say("here", `Redis at ${host}:${port} answers`);
  });
  redis.on("error", (error: Error) => {
    say("gone", `Redis at ${host}:${port} does not answer, trying again: ${error.message}`);
  });
  redis.on("close", () => {
    say("gone", `Redis at ${host}:${port} closed the connection, trying again`);
  });
  return redis;
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
