/** Take what the bridge decided: one delivery after the other, each until it was taken. */

import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

import type { Redis } from "ioredis";

import { describe } from "./invocation.ts";
import { hold, settle } from "./generated/scripts.ts";
import type { Json } from "./json.ts";
import { promptOf } from "./prompt.ts";
import type { Digest, Prompt } from "./generated/triage.ts";
import { toStderr, whole, type Logger } from "./logger.ts";
import { addressOf, connect, isDisconnect, LONGEST_WAIT_MS, Stranger, usable } from "./redis.ts";

export type { Digest, Prompt };

interface Common {
  /** The same each time the event comes: what was taken before can be recognised by it. */
  id: string;
  key: string;
  /** Number of the commit on this key, and of the event in that commit. */
  seq: number;
  n: number;
  /** 1, or more if it was begun before, here or by somebody who did not end it. */
  attempt: number;
  /**
   * Aborted when this delivery is no longer ours to take: another has it by now, or `close` was
   * called. Never after the receiver has ended.
   */
  signal: AbortSignal;
}

/**
 * What the bridge decided, handed to whoever has to know; its `type` tells the payload's.
 *
 * `triage.escalation` is of what joelclaw's daemon tells Telegram at once. All payloads have
 * `prompt`, the text for a language model.
 */
export type Delivery = Common &
  (
    | { type: "triage.prompt" | "triage.escalation"; payload: Prompt & Worded }
    | { type: "triage.digest"; payload: Digest & Worded }
  );

interface Worded {
  prompt: string;
}

/** Takes a delivery. When it throws or rejects, the delivery comes again. */
export type Receiver = (delivery: Delivery) => unknown;

export interface DeliverOptions {
  /** The bridge's own Redis; BRIDGE_REDIS_URL if it is not given. */
  redisUrl?: string | undefined;
  /** `console`, pino, winston, …; standard error if it is not given. */
  logger?: Logger;
  /** How long after the death of this process another may take over; at least 300. */
  leaseMs?: number;
  /** How long `close` waits for a receiver that runs. */
  closeMs?: number;
  /** @internal Pause after the first failure; it doubles with each, up to a minute. */
  firstRetryMs?: number;
}

/**
 * What a deliverer tells. `ready`: it is the one who delivers. `lost`: somebody else is, by now.
 * `fault`: the receiver failed, and the delivery comes again. `refused`: it failed at its last
 * attempt too, and is in the quarantine.
 */
export interface DelivererEvents {
  ready: [];
  lost: [holder: string];
  fault: [fault: { id: string; attempt: number; error: unknown }];
  refused: [refusal: { id: string; attempts: number; message: string }];
}

interface First {
  position: string;
  text: string;
  attempts: number;
  error: string;
  waitMs: number;
}

type Outcome = ["done"] | ["given_back"] | ["failed", error: string, retryAfterMs: number];

const LEAST_LEASE_MS = 300;

const SUBSYSTEM = "triage";
const PREFIX = `joelclaw:bridge:{${SUBSYSTEM}}:`;
const MAX_ATTEMPTS = 8;
const LAST_RETRY_MS = 60_000;
const RECOVER_MS = 250;
const RELEASE_MS = 1000;
const COMPLAIN_MS = 60_000;
const RECORDS = "joelclaw:bridge:quarantine";
const TIMES = "joelclaw:bridge:quarantine:times";

/**
 * Call `receive` with each decision, in order and one at a time, until `close`.
 *
 * For BRIDGE_OUTLET=serve. Of several processes one delivers and the others stand by. Needs no
 * Redis to start: it begins when there is one. Throws without an address of Redis.
 */
export function deliver(receive: Receiver, options: DeliverOptions = {}): Deliverer {
  return new Deliverer(receive, options);
}

export class Deliverer extends EventEmitter<DelivererEvents> {
  /** What the lease names: kind of outlet, then this process. */
  readonly token = `serve ${hostname()}-${process.pid}-${randomBytes(4).toString("hex")}`;
  readonly #receive: Receiver;
  readonly #leaseMs: number;
  readonly #restMs: number;
  readonly #firstRetryMs: number;
  readonly #closeMs: number;
  readonly #logger: Logger;
  readonly #stranger: Stranger;
  readonly #commands: Redis;
  readonly #blocking: Redis;
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;
  #underway: AbortController | undefined;
  #holder = "";
  #known = false;
  #complaint = { text: "", atMs: -Infinity };

  constructor(receive: Receiver, options: DeliverOptions) {
    super();
    const redisUrl = addressOf(options.redisUrl);
    this.#receive = receive;
    this.#leaseMs = Math.max(options.leaseMs ?? 6000, LEAST_LEASE_MS);
    this.#restMs = Math.min(Math.ceil(this.#leaseMs / 3), LONGEST_WAIT_MS);
    this.#closeMs = options.closeMs ?? 10_000;
    this.#firstRetryMs = options.firstRetryMs ?? 1000;
    this.#logger = options.logger ?? toStderr();
    this.#commands = connect(redisUrl, "bridge-deliver", this.#logger);
    this.#stranger = new Stranger(this.#commands, this.#logger);
    this.#blocking = connect(redisUrl, "bridge-deliver-wait");
    this.#ended = this.#run();
  }

  /** Say whether this process is the one that delivers, as far as it knows. */
  get holding(): boolean {
    return this.#holder === this.token;
  }

  /**
   * End: wait for `receive` if it runs, let the next process begin, disconnect.
   *
   * A receiver that still runs after `closeMs` is left to itself, and its delivery comes again.
   */
  async close(): Promise<void> {
    const reason = new Error("this process is closing");
    this.#stop.abort(reason);
    this.#underway?.abort(reason);
    this.#blocking.disconnect();
    const late = new AbortController();
    await Promise.race([
      this.#ended.finally(() => late.abort()),
      sleep(this.#closeMs, undefined, { signal: late.signal }).catch(() => {}),
    ]);
    if (late.signal.aborted) return;
    this.#logger.warn(`${SUBSYSTEM}: the receiver still runs ${this.#closeMs} ms after close`);
    await this.#release();
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
    await this.#release();
  }

  /** Let the next process begin, and disconnect. */
  async #release(): Promise<void> {
    if (this.#commands.status === "ready" && this.#known) {
      await Promise.race([
        this.#script(hold, 0).catch((error: Error) => this.#complain(error)),
        sleep(RELEASE_MS, undefined, { ref: false }),
      ]);
    }
    this.#commands.disconnect();
  }

  /** Deliver what is first in line, or wait for something to do. */
  async #once(): Promise<void> {
    if (!(await this.#isTheBridges())) return this.#pause(RECOVER_MS);
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
    if (this.#holder !== before) {
      if (this.holding) this.#emit("ready");
      else if (before === this.token) this.#emit("lost", this.#holder);
      if (!this.holding) {
        this.#logger.info(`${SUBSYSTEM}: standing by, ${this.#holder} delivers`);
      }
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

  /** Whether a gateway has announced itself there: nothing is written to anybody else's Redis. */
  async #isTheBridges(): Promise<boolean> {
    this.#known ||= (await this.#commands.exists(`${PREFIX}contract`)) === 1;
    this.#stranger.seen(this.#known);
    return this.#known;
  }

  async #deliver(first: First): Promise<void> {
    const [attempt] = await this.#script(settle, first.position, "begin");
    if (!attempt) return;
    // Its own, and let go of with the call: what ended is not aborted any more.
    const underway = new AbortController();
    const renewing = setInterval(() => void this.#renew(underway), this.#restMs);
    let outcome: Outcome = ["done"];
    let thrown: unknown;
    try {
      if (this.#stop.signal.aborted) underway.abort(this.#stop.signal.reason);
      this.#underway = underway;
      await this.#receive(read(first, Number(attempt), underway.signal));
    } catch (error) {
      thrown = error;
      const closing = this.#stop.signal.aborted;
      outcome = closing ? ["given_back"] : this.#failure(error, Number(attempt));
    } finally {
      this.#underway = undefined;
      clearInterval(renewing);
    }
    const told = await this.#tell(first, outcome);
    if (outcome[0] === "failed") {
      const [, error, retryMs] = outcome;
      const next = Number(attempt) < MAX_ATTEMPTS ? `again in ${retryMs} ms` : "put aside";
      const line = `${nameOf(first)}: attempt ${attempt} of ${MAX_ATTEMPTS}: ${error}; ${next}`;
      this.#logger.error(`${line}\n${whole(thrown)}`);
      this.#emit("fault", { id: nameOf(first), attempt: Number(attempt), error: thrown });
    } else if (!told) {
      this.#logger.warn(`${nameOf(first)}: it may come again, to whoever delivers then`);
    }
  }

  #failure(error: unknown, attempt: number): Outcome {
    const longestMs = Math.min(this.#firstRetryMs * 2 ** (attempt - 1), LAST_RETRY_MS);
    const text = describe(error);
    return ["failed", text, Math.ceil(longestMs * (0.5 + Math.random() / 2))];
  }

  async #renew(underway: AbortController): Promise<void> {
    try {
      await this.#hold();
      if (!this.holding && this.#underway === underway) {
        underway.abort(new Error(`${this.#holder} delivers by now`));
      }
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
    this.#logger.error(`${id}: ${item.message}; it is in the quarantine`);
    this.#emit("refused", { id, attempts: first.attempts, message: item.message });
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

  #emit<E extends keyof DelivererEvents>(event: E, ...args: DelivererEvents[E]): void {
    try {
      (this as EventEmitter).emit(event, ...args);
    } catch (error) {
      this.#logger.error(`a listener of ${event} failed: ${whole(error)}`);
    }
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
    this.#logger.warn(`${SUBSYSTEM}: ${message}`);
    this.#complaint = { text: message, atMs: performance.now() };
  }
}

interface CloudEvent {
  id: string;
  type: string;
  subject: string;
  seq: number;
  n: number;
  data: { [member: string]: Json };
}

function read({ text }: First, attempt: number, signal: AbortSignal): Delivery {
  const { id, type, subject, seq, n, data } = JSON.parse(text) as CloudEvent;
  const payload = { ...data, prompt: promptOf(type, data) };
  return { id, type, key: subject, seq, n, payload, attempt, signal } as unknown as Delivery;
}

/** The event's id, or for a text that is none its place in the line. */
function nameOf({ position, text }: First): string {
  try {
    return String((JSON.parse(text) as CloudEvent).id);
  } catch {
    return position;
  }
}
