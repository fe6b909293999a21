/** A gateway worker as far as a runtime sees it: writes requests, reads replies. */

import { randomUUID } from "node:crypto";

import { Redis } from "ioredis";

import type { Context } from "../src/implementation.ts";
import type { Answer } from "../src/invocation.ts";
import type { Json } from "../src/json.ts";
import { DEADLINE_MS, eventually } from "./deadline.ts";

export interface Question {
  subsystem: string;
  operation: string;
  digest: string;
  kind?: "command" | "query";
  request?: Json;
  state?: Json;
  timeoutMs?: number;
}

export type Told = Answer & { invocation: string };

export class Gateway {
  readonly redis: Redis;
  readonly #replies: string;
  #after = "0-0";

  constructor(url: string) {
    this.redis = new Redis(url, { protocol: 2, maxRetriesPerRequest: null });
    this.redis.on("error", () => {}); // tests kill Redis
    this.#replies = `joelclaw:bridge:replies:${randomUUID()}`;
  }

  /** Say which contracts there are, as a worker does at its start and after a flush. */
  async announce(digests: Record<string, string>): Promise<void> {
    for (const [name, digest] of Object.entries(digests)) {
      await this.redis.set(`joelclaw:bridge:{${name}}:contract`, digest, "NX");
    }
  }

  /** Send one request and return its attempt id. */
  async send(question: Question): Promise<string> {
    const id = randomUUID();
    await this.write(question.subsystem, JSON.stringify(this.event(id, question)));
    return id;
  }

  async write(subsystem: string, event: string): Promise<void> {
    await this.redis.xadd(requestsOf(subsystem), "*", "event", event);
  }

  event(id: string, question: Question): { [member: string]: Json } {
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
        kind: question.kind ?? "command",
        request,
        state,
        context: contextOf("m", "k", 1_700_000_000_000) as unknown as Json,
        digest,
      },
    };
  }

  /** Wait for the answers to these attempts; other replies are dropped. */
  async answers(ids: readonly string[]): Promise<Told[]> {
    const told = new Map<string, Told>();
    await eventually(`answers to ${ids.length} requests`, async () => {
      const args = ["COUNT", 1000, "STREAMS", this.#replies, this.#after] as const;
      const found = (await this.redis.xread(...args)) ?? [];
      for (const [, entries] of found) {
        for (const [id, fields] of entries) {
          this.#after = id;
          const { data } = JSON.parse(fields[1] as string) as { data: Told };
          told.set(data.invocation, data);
        }
      }
      return ids.every((id) => told.has(id));
    });
    return ids.map((id) => told.get(id) as Told);
  }

  async ask(question: Question): Promise<Told> {
    const [answer] = await this.answers([await this.send(question)]);
    return answer as Told;
  }

  /** The consumers that hold a lease. */
  async live(subsystem: string): Promise<string[]> {
    const [seconds, micros] = await this.redis.time();
    const nowMs = Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
    const key = `joelclaw:bridge:{${subsystem}}:runtime:typescript`;
    return await this.redis.zrangebyscore(key, `(${nowMs}`, "+inf");
  }

  /** Wait until so many consumers serve a subsystem. */
  async joined(subsystem: string, count: number): Promise<void> {
    const what = `${count} consumers of ${subsystem}`;
    await eventually(what, async () => (await this.live(subsystem)).length === count);
  }
}

export function requestsOf(subsystem: string): string {
  return `joelclaw:bridge:{${subsystem}}:requests:typescript`;
}

export function contextOf(message_id: string, key: string, now_ms: number): Context {
  const [date, rest] = new Date(now_ms).toISOString().split("T") as [string, string];
  return {
    key,
    message_id,
    now_ms,
    local: { date, time: rest.slice(0, 8), zone: "UTC" },
    seed: "0".repeat(64),
    deadline_ms: now_ms + 10_000,
  };
}
