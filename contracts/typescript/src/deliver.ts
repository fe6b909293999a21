/** Take what the bridge decided: one delivery after the other, each until it was taken. */

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

import type { Redis } from "ioredis";

import { hold, settle } from "./generated/scripts.ts";
import type { Json } from "./json.ts";
import { promptOf } from "./prompt.ts";
import { connect, isDisconnect, usable, type Log } from "./redis.ts";

/** An event of a subsystem, handed to whoever has to know. */
export interface Delivery {
  /** The same each time the event comes: what was taken before can be recognised by it. */
  id: string;
  /** `triage.prompt`, `triage.escalation` (of what the daemon tells at once), `triage.digest`. */
  type: string;
  key: string;
  /** Number of the commit on this key, and of the event in that commit. */
  seq: number;
  n: number;
  /** As `triage` emitted it, the events whole, and `prompt`: the text for a language model. */
  payload: { prompt: string; [member: string]: Json };
  /** 1, or more if it was begun before, here or by somebody who did not end it. */
  attempt: number;
  /** Aborted when it is no longer ours to take: another has it by now, or `close` was called. */
  signal: AbortSignal;
}

/** Takes a delivery. When it throws or rejects, the delivery comes again. */
export type Receiver = (delivery: Delivery) => unknown;

export interface DeliverOptions {
  redisUrl?: string;
  log?: Log;
  /** How long after the death of this process another may take over. */
  leaseMs?: number;
  /** @internal Pause after the first failure; it doubles with each, up to a minute. */
  firstRetryMs?: number;
}

interface First {
  position: string;
  text: string;
  attempts: number;
  error: string;
  waitMs: number;
}

type Outcome = ["done"] | ["given_back"] | ["failed", error: string, retryAfterMs: number];

const SUBSYSTEM = "triage";
const PREFIX = `joelclaw:bridge:{${SUBSYSTEM}}:`;
const MAX_ATTEMPTS = 8;
const LAST_RETRY_MS = 60_000;
const RECOVER_MS = 250;
const COMPLAIN_MS = 60_000;
const RECORDS = "joelclaw:bridge:quarantine";
const TIMES = "joelclaw:bridge:quarantine:times";

/**
 * Call `receive` with each decision, in order and one at a time, until `close`.
 *
 * For BRIDGE_OUTLET=serve. Of several processes one delivers and the others stand by. Needs no
 * Redis to start: it begins when there is one.
 */
export function deliver(receive: Receiver, options: DeliverOptions = {}): Deliverer {
  return new Deliverer(receive, options);
}

export class Deliverer {
  /** What the lease names: kind of outlet, then this process. */
  readonly token = `serve ${hostname()}-${process.pid}-${randomBytes(4).toString("hex")}`;
  readonly #receive: Receiver;
  readonly #leaseMs: number;
  readonly #restMs: number;
  readonly #firstRetryMs: number;
  readonly #log: Log;
  readonly #commands: Redis;
  readonly #blocking: Redis;
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;
  #holder = "";
  #complaint = { text: "", atMs: -Infinity };

  constructor(receive: Receiver, options: DeliverOptions) {
    const { redisUrl = "redis://127.0.0.1:6379" } = options;
    this.#receive = receive;
    this.#leaseMs = options.leaseMs ?? 6000;
    this.#restMs = Math.ceil(this.#leaseMs / 3);
    this.#firstRetryMs = options.firstRetryMs ?? 1000;
    this.#log = options.log ?? console.error;
    this.#commands = connect(redisUrl, "bridge-deliver", this.#log);
    this.#blocking = connect(redisUrl, "bridge-deliver-wait");
    this.#ended = this.#run();
  }

  /** Say whether this process is the one that delivers, as far as it knows. */
  get holding(): boolean {
    return this.#holder === this.token;
  }

  /** End: wait for `receive` if it runs, let the next process begin, disconnect. */
  async close(): Promise<void> {
    this.#stop.abort(new Error("this process is closing"));
    this.#blocking.disconnect();
    await this.#ended;
  }

  async #run(): Promise<void> {
    while (await usable(this.#commands, this.#stop.signal)) {
      try {
        await this.#once();
      } catch (error) {
        this.#complain(error as Error);
        await this.#pause(RECOVER_MS);
      }
    }
    if (this.#commands.status === "ready") {
      await this.#script(hold, 0).catch((error: Error) => this.#complain(error));
    }
    this.#commands.disconnect();
  }

  /** Deliver what is first in line, or wait for something to do. */
  async #once(): Promise<void> {
    const first = await this.#hold();
    if (!this.holding) await this.#pause(this.#restMs);
    else if (!first) await this.#arrived();
    else if (first.attempts >= MAX_ATTEMPTS) await this.#putAside(first);
    else if (first.waitMs > 0) await this.#pause(Math.min(first.waitMs, this.#restMs));
    else await this.#deliver(first);
  }

  /** Take or renew the lease; return what is first in line. */
  async #hold(): Promise<First | undefined> {
    const [holder, position, text, ...rest] = await this.#script(hold, this.#leaseMs);
    const before = this.#holder;
    this.#holder = String(holder);
    if (this.#holder !== before && !this.holding) {
      this.#log(`${SUBSYSTEM}: standing by, ${this.#holder} delivers`);
    }
    if (!this.holding || position === undefined) return undefined;
    const [attempts, error, waitMs] = rest;
    return {
      position: String(position),
      text: String(text),
      attempts: Number(attempts),
      error: String(error),
      waitMs: Number(waitMs),
    };
  }

  async #deliver(first: First): Promise<void> {
    const [attempt] = await this.#script(settle, first.position, "begin");
    if (!attempt) return;
    const lost = new AbortController();
    const renewing = setInterval(() => void this.#renew(lost), this.#restMs);
    let outcome: Outcome = ["done"];
    try {
      const signal = AbortSignal.any([lost.signal, this.#stop.signal]);
      await this.#receive(read(first, Number(attempt), signal));
    } catch (error) {
      outcome = this.#stop.signal.aborted ? ["given_back"] : this.#failure(error, Number(attempt));
    } finally {
      clearInterval(renewing);
    }
    const told = await this.#tell(first, outcome);
    if (outcome[0] === "failed") {
      const [, error, retryMs] = outcome;
      const next = Number(attempt) < MAX_ATTEMPTS ? `again in ${retryMs} ms` : "put aside";
      this.#log(`${nameOf(first)}: attempt ${attempt} of ${MAX_ATTEMPTS}: ${error}; ${next}`);
    } else if (!told) {
      this.#log(`${nameOf(first)}: it may come again, to whoever delivers then`);
    }
  }

  #failure(error: unknown, attempt: number): Outcome {
    const longestMs = Math.min(this.#firstRetryMs * 2 ** (attempt - 1), LAST_RETRY_MS);
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return ["failed", text, Math.ceil(longestMs * (0.5 + Math.random() / 2))];
  }

  async #renew(lost: AbortController): Promise<void> {
    try {
      await this.#hold();
      if (!this.holding) lost.abort(new Error(`${this.#holder} delivers by now`));
    } catch (error) {
      this.#complain(error as Error); // the lease lasts for longer than one renewal
    }
  }

  /** Tell how it ended, as often as it takes; only `close` cuts it short. */
  async #tell(first: First, outcome: Outcome): Promise<boolean> {
    for (;;) {
      try {
        const [told] = await this.#script(settle, first.position, ...outcome);
        return told === 1;
      } catch (error) {
        this.#complain(error as Error);
        await this.#pause(RECOVER_MS);
        if (!(await usable(this.#commands, this.#stop.signal))) return false;
      }
    }
  }

  /** Keep in the quarantine what was begun too often, and release the next. */
  async #putAside(first: First): Promise<void> {
    const error = first.error || "nobody who began it lived to end it";
    const id = nameOf(first);
    const item = {
      id,
      at_ms: Date.now(),
      source: "deliveries",
      code: "runtime_fault",
      message: `not delivered in ${first.attempts} attempts: ${error}`,
      detail: { subsystem: SUBSYSTEM, attempts: first.attempts },
      raw: first.text,
    };
    const written = await this.#commands
      .multi()
      .hset(RECORDS, id, JSON.stringify(item))
      .zadd(TIMES, "NX", item.at_ms, id)
      .exec();
    const failed = written?.find(([error]) => error)?.[0];
    if (failed) throw failed;
    await this.#script(settle, first.position, "done");
    this.#log(`${id}: ${item.message}; it is in the quarantine`);
  }

  /** Wait for a delivery, but not so long that the lease ends. */
  async #arrived(): Promise<void> {
    if (this.#blocking.status !== "ready") return this.#pause(RECOVER_MS);
    const stream = `${PREFIX}deliveries`;
    try {
      await this.#blocking.xread("COUNT", 1, "BLOCK", this.#restMs, "STREAMS", stream, "0-0");
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      throw error;
    }
  }

  async #script(script: string, ...args: Array<string | number>): Promise<unknown[]> {
    const answer = await this.#commands.eval(script, 1, PREFIX, "", this.token, ...args);
    return (answer as unknown[]).slice(1); // the first is the tag
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => {});
  }

  /** Say what is wrong, the same thing at most once a minute; connections say it themselves. */
  #complain(error: Error): void {
    if (isDisconnect(error)) return;
    const { message } = error;
    const { text, atMs } = this.#complaint;
    if (text === message && performance.now() - atMs < COMPLAIN_MS) return;
    this.#log(`${SUBSYSTEM}: ${message}`);
    this.#complaint = { text: message, atMs: performance.now() };
  }
}

interface CloudEvent {
  id: string;
  type: string;
  subject: string;
  seq: number;
  n: number;
  data: Delivery["payload"];
}

function read({ text }: First, attempt: number, signal: AbortSignal): Delivery {
  const { id, type, subject, seq, n, data } = JSON.parse(text) as CloudEvent;
  const payload = { ...data, prompt: promptOf(type, data) };
  return { id, type, key: subject, seq, n, payload, attempt, signal };
}

/** The event's id, or for a text that is none its place in the line. */
function nameOf({ position, text }: First): string {
  try {
    return String((JSON.parse(text) as CloudEvent).id);
  } catch {
    return position;
  }
}
