/** A gateway worker as far as a runtime sees it: writes requests, reads replies. */
import { randomUUID } from "node:crypto";
import { Redis } from "ioredis";
import { DEADLINE_MS, eventually } from "./deadline.js";
export class Gateway {
    redis;
    #replies;
    #after = "0-0";
    constructor(url) {
        this.redis = new Redis(url, { protocol: 2, maxRetriesPerRequest: null });
        this.redis.on("error", () => { }); // tests kill Redis
        this.#replies = `joelclaw:bridge:replies:${randomUUID()}`;
    }
    /** Send one request and return its attempt id. */
    async send(question) {
        const id = randomUUID();
        await this.write(question.subsystem, JSON.stringify(this.event(id, question)));
        return id;
    }
    async write(subsystem, event) {
        await this.redis.xadd(requestsOf(subsystem), "*", "event", event);
    }
    event(id, question) {
        const { subsystem, operation, digest, request = {}, state = null } = question;
        const timeoutms = question.timeoutMs ?? DEADLINE_MS;
        return {
            specversion: "1.0",
            id,
            source: "/bridge/test",
            type: "bridge.invocation",
            subject: "k",
            time: new Date().toISOString(),
            datacontenttype: "application/json",
            replyto: this.#replies,
            timeoutms,
            data: {
                subsystem,
                key: "k",
                operation,
                kind: "command",
                request,
                state,
                context: contextOf("m", "k", 1_700_000_000_000),
                digest,
            },
        };
    }
    /** Wait for the answers to these attempts; other replies are dropped. */
    async answers(ids) {
        const told = new Map();
        await eventually(`answers to ${ids.length} requests`, async () => {
            const args = ["COUNT", 1000, "STREAMS", this.#replies, this.#after];
            const found = (await this.redis.xread(...args)) ?? [];
            for (const [, entries] of found) {
                for (const [id, fields] of entries) {
                    this.#after = id;
                    const { data } = JSON.parse(fields[1]);
                    told.set(data.invocation, data);
                }
            }
            return ids.every((id) => told.has(id));
        });
        return ids.map((id) => told.get(id));
    }
    async ask(question) {
        const [answer] = await this.answers([await this.send(question)]);
        return answer;
    }
    /** The consumers that hold a lease. */
    async live(subsystem) {
        const [seconds, micros] = await this.redis.time();
        const nowMs = Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
        const key = `joelclaw:bridge:{${subsystem}}:runtime:typescript`;
        return await this.redis.zrangebyscore(key, `(${nowMs}`, "+inf");
    }
    /** Wait until so many consumers serve a subsystem. */
    async joined(subsystem, count) {
        const what = `${count} consumers of ${subsystem}`;
        await eventually(what, async () => (await this.live(subsystem)).length === count);
    }
}
export function requestsOf(subsystem) {
    return `joelclaw:bridge:{${subsystem}}:requests:typescript`;
}
export function contextOf(message_id, key, now_ms) {
    const [date, rest] = new Date(now_ms).toISOString().split("T");
    return {
        key,
        message_id,
        now_ms,
        local: { date, time: rest.slice(0, 8), zone: "UTC" },
        seed: "0".repeat(64),
        deadline_ms: now_ms + 10_000,
    };
}
