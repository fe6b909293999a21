/** Connections that survive their Redis, and say so once. */
import { Redis } from "ioredis";
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
export function connect(url, name, log) {
    const redis = new Redis(url, {
        connectionName: name,
        protocol: 2, // RESP3 gives streams another shape
        enableOfflineQueue: false,
        autoResendUnfulfilledCommands: false,
        maxRetriesPerRequest: 0,
        socketTimeout: SILENCE_MS,
        retryStrategy: (times) => Math.min(FIRST_RETRY_MS * 2 ** Math.min(times, 10), LAST_RETRY_MS) * (0.5 + Math.random() / 2),
    });
    let said;
    const say = (what, line) => {
        if (said !== what)
            log?.(line);
        said = what;
    };
    const { host, port } = redis.options;
    redis.on("ready", () => {
        say("here", `Redis at ${host}:${port} answers`);
    });
    redis.on("error", (error) => {
        say("gone", `Redis at ${host}:${port} does not answer, trying again: ${error.message}`);
    });
    redis.on("close", () => {
        say("gone", `Redis at ${host}:${port} closed the connection, trying again`);
    });
    return redis;
}
/** Wait until the connection can be used, or the signal says to stop waiting. */
export async function usable(redis, signal) {
    if (redis.status === "ready" || signal.aborted)
        return !signal.aborted;
    return await new Promise((resolve) => {
        const settle = () => {
            redis.off("ready", settle);
            signal.removeEventListener("abort", settle);
            resolve(!signal.aborted);
        };
        redis.once("ready", settle);
        signal.addEventListener("abort", settle);
    });
}
