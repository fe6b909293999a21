/** One subsystem's requests: read in batches, handled, answered, removed. */

import type { Redis } from "ioredis";

import { runInSlices, type Job, type Ran } from "./budget.ts";
import type { Contract } from "./contract.ts";
import type { Handler } from "./implementation.ts";
import {
  answer,
  causes,
  fault,
  readInvocation,
  writeOutcome,
  type Answer,
  type Invocation,
} from "./invocation.ts";
import { whole, type Logger } from "./logger.ts";
import { forget, forgetDead, keysOf, leave, renew, tellServed, type Keys } from "./presence.ts";
import { isDisconnect, usable } from "./redis.ts";
import type { Fault, ServiceEvents } from "./serve.ts";
import { beginScope } from "./unheard.ts";

const GROUP = "typescript";
const BATCH = 64;
const BLOCK_MS = 1000;
const MAX_DELIVERIES = 3;
const MAX_REPLIES = 10_000;
const REPLIES_TTL_MS = 60_000;
const COMPLAIN_MS = 60_000;
const RECOVER_MS = 250;

export interface IntakeOptions {
  consumer: string;
  budgetMs: number;
  claimIdleMs: number;
  build: string;
  logger: Logger;
  tell: <E extends keyof ServiceEvents>(event: E, ...args: ServiceEvents[E]) => void;
}

interface Entry {
  id: string;
  text: string | undefined;
  deliveries: number;
}

type StreamEntry = [id: string, fields: string[] | null];

/**
 * Serves one subsystem, from the first `pulse` that finds the gateway's contract to be ours
 * until `close`.
 */
export class Intake {
  readonly #contract: Contract;
  readonly #handle: Handler;
  readonly #commands: Redis;
  readonly #blocking: Redis;
  readonly #options: IntakeOptions;
  readonly #keys: Keys;
  readonly #stop = new AbortController();
  readonly #inHand = new Set<string>();
  #serving = false;
  #reading: Promise<void> | undefined;
  #takingOver: Promise<void> | undefined;
  #asked = "";
  #complaint = { text: "", atMs: -Infinity };
  /** Redis's time minus this process's monotonic clock. */
  #clockOffsetMs = 0;

  constructor(
    contract: Contract,
    handle: Handler,
    connections: { commands: Redis; blocking: Redis },
    options: IntakeOptions,
  ) {
    this.#contract = contract;
    this.#handle = handle;
    this.#commands = connections.commands;
    this.#blocking = connections.blocking;
    this.#options = options;
    this.#keys = keysOf(contract.name);
  }

  get serving(): boolean {
    return this.#serving;
  }

  /** Whether no gateway has said yet which contract it has. */
  get waiting(): boolean {
    return this.#asked === "";
  }

  /** Renew the lease, compare contracts, take over what dead consumers left; each second. */
  async pulse(): Promise<void> {
    await this.#quietly(this.#renew());
  }

  async #renew(): Promise<void> {
    const { consumer, logger, tell } = this.#options;
    const { name, digest } = this.#contract;
    const { nowMs, asked, had } = await renew(this.#commands, this.#keys, consumer, digest);
    this.#clockOffsetMs = nowMs - performance.now();
    if (this.#serving && !had) {
      logger.warn(`${name}: its lease ran out: this process stood still, or Redis was away`);
      tell("lost", name);
    }
    const served = this.#serving && had;
    this.#serving = asked === digest;
    if (asked !== this.#asked && asked !== "" && !this.#serving) {
      logger.error(`${name}: refused: built from contract ${digest}, the gateway has ${asked}`);
      tell("refused", { subsystem: name, ours: digest, theirs: asked });
    }
    this.#asked = asked;
    if (!this.#serving) return;
    if (!served) {
      await tellServed(this.#commands, name, nowMs);
      logger.debug(`${name}: served`);
      tell("ready", name);
    }
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    // Not waited for: what is taken over may take longer to handle than the lease lasts.
    this.#takingOver ??= this.#quietly(this.#takeOver()).finally(() => {
      this.#takingOver = undefined;
    });
  }

  async forgetDead(): Promise<void> {
    if (this.#reading) await this.#quietly(forgetDead(this.#commands, this.#keys, GROUP));
  }

  /** Tell the gateways to send no more; what they sent is still answered, until `close`. */
  async leave(): Promise<void> {
    await leave(this.#commands, this.#keys, this.#options.consumer, this.#contract.digest);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#blocking.disconnect();
    await Promise.all([this.#reading, this.#takingOver]);
    if (this.#commands.status === "ready") {
      await this.#quietly(forget(this.#commands, this.#keys, GROUP, this.#options.consumer));
    }
  }

  async #read(): Promise<void> {
    const { requests } = this.#keys;
    const { consumer } = this.#options;
    while (this.#serving && (await usable(this.#blocking, this.#stop.signal))) {
      try {
        const found = (await this.#blocking.xreadgroup(
          "GROUP",
          GROUP,
          consumer,
          "COUNT",
          BATCH,
          "BLOCK",
          BLOCK_MS,
          "STREAMS",
          requests,
          ">",
        )) as Array<[string, StreamEntry[]]> | null;
        for (const [, entries] of found ?? []) {
          await this.#handleAll(entries.map((entry) => read(entry, 1)));
        }
      } catch (error) {
        if (!this.#stop.signal.aborted) await this.#recover(error as Error);
      }
    }
  }

  /** Make the group again if it is gone with the stream; wait out anything else. */
  async #recover(error: Error): Promise<void> {
    if (/NOGROUP|UNBLOCKED/.test(error.message)) {
      await this.#quietly(this.#createGroup());
      return;
    }
    this.#complain(error);
    // Connections may break one after the other: this one may still be there.
    if (this.#blocking.status === "ready") await pause(RECOVER_MS, this.#stop.signal);
  }

  async #createGroup(): Promise<void> {
    try {
      // From 0: what was sent before the group came into being is to be answered too.
      await this.#commands.xgroup("CREATE", this.#keys.requests, GROUP, "0", "MKSTREAM");
    } catch (error) {
      if (!(error as Error).message.startsWith("BUSYGROUP")) throw error;
    }
  }

  /**
   * Handle what others left unanswered. Entries may have been deleted meanwhile: Redis 6.2 answers
   * null in their place, and keeps them pending until somebody acknowledges them.
   */
  async #takeOver(): Promise<void> {
    const { requests } = this.#keys;
    const { consumer, claimIdleMs } = this.#options;
    try {
      const pending = (await this.#commands.xpending(
        requests,
        GROUP,
        "IDLE",
        claimIdleMs,
        "-",
        "+",
        BATCH,
      )) as Array<[id: string, consumer: string, idleMs: number, deliveries: number]>;
      const left = pending.filter(([id]) => !this.#inHand.has(id));
      if (left.length === 0) return;
      const ids = left.map(([id]) => id);
      const claimed = (await this.#commands.xclaim(
        requests,
        GROUP,
        consumer,
        claimIdleMs,
        ...ids,
      )) as Array<StreamEntry | null>;
      const ours = claimed.filter((entry) => entry !== null);
      const deliveries = new Map(left.map(([id, , , count]) => [id, count + 1]));
      await this.#forgetDeleted(ids.filter((id) => !ours.some(([mine]) => mine === id)));
      await this.#handleAll(ours.map((entry) => read(entry, deliveries.get(entry[0]) ?? 1)));
    } catch (error) {
      if (!(error as Error).message.startsWith("NOGROUP")) throw error;
      await this.#createGroup();
    }
  }

  /** Of those that could not be claimed, acknowledge what is not there; others may have the rest. */
  async #forgetDeleted(ids: string[]): Promise<void> {
    if (ids.length === 0) return;
    const { requests } = this.#keys;
    const looking = this.#commands.pipeline();
    for (const id of ids) looking.xrange(requests, id, id);
    const found = (await looking.exec()) ?? [];
    const gone = ids.filter((_, n) => (found[n]?.[1] as unknown[] | undefined)?.length === 0);
    if (gone.length > 0) await this.#commands.xack(requests, GROUP, ...gone);
  }

  async #handleAll(entries: Entry[]): Promise<void> {
    for (const { id } of entries) this.#inHand.add(id);
    try {
      const dropped: string[] = [];
      const jobs: Array<Job<Answer> & { id: string; invocation: Invocation }> = [];
      for (const entry of entries) {
        const invocation = readInvocation(entry.text);
        if (!invocation) this.#complain(new Error("dropped an entry that is no invocation"));
        if (!invocation || this.#isLate(entry.id, invocation)) dropped.push(entry.id);
        else jobs.push({ id: entry.id, invocation, ...this.#job(invocation, entry.deliveries) });
      }
      if (dropped.length > 0) this.#remove(dropped);
      let next = 0;
      for await (const results of runInSlices(jobs)) {
        const answered = jobs.slice(next, next + results.length);
        next += results.length;
        await this.#reply(answered, results);
      }
    } finally {
      for (const { id } of entries) this.#inHand.delete(id);
    }
  }

  #job(invocation: Invocation, deliveries: number): Job<Answer> {
    const budgetMs = Math.max(1, Math.min(this.#options.budgetMs, invocation.timeoutms));
    if (deliveries <= MAX_DELIVERIES) {
      const run = (): Answer => {
        beginScope((reason) => this.#unheard(invocation, reason));
        return answer(this.#contract, this.#handle, invocation);
      };
      return { budgetMs, run };
    }
    const text = `given to ${deliveries - 1} consumers, none of which lived to answer`;
    return { budgetMs, run: () => fault("crashed", text) };
  }

  async #reply(
    asked: Array<Job<Answer> & { id: string; invocation: Invocation }>,
    results: Array<Ran<Answer>>,
  ): Promise<void> {
    const source = `/typescript/${this.#options.consumer}`;
    const replies = this.#commands.pipeline();
    asked.forEach(({ invocation, budgetMs }, n) => {
      const ran = results[n] as Ran<Answer>;
      const { subsystem, operation } = invocation.data;
      const text = `${subsystem}.${operation} computed for more than ${budgetMs} ms`;
      const data = "value" in ran ? ran.value : fault("timeout", text);
      if ("fault" in data && data.fault.kind !== "digest_mismatch") {
        this.#tellFault(invocation, data.fault.kind, data.fault.message, causes.get(data));
      }
      const event = writeOutcome(invocation, data, source, new Date(), this.#options.build);
      replies.xadd(invocation.replyto, "MAXLEN", "~", MAX_REPLIES, "*", "event", event);
    });
    // A gateway that is gone trims its stream no more.
    for (const stream of new Set(asked.map(({ invocation }) => invocation.replyto))) {
      replies.pexpire(stream, REPLIES_TTL_MS);
    }
    const written = (await replies.exec()) ?? [];
    const answered = asked.filter((_, n) => isSettled(written[n]?.[0])).map(({ id }) => id);
    if (answered.length > 0) this.#remove(answered);
    const failed = written.find(([error]) => error)?.[0];
    if (failed) throw failed;
  }

  #unheard(invocation: Invocation, reason: unknown): void {
    const { subsystem, operation } = invocation.data;
    const text = `${subsystem}.${operation} left a promise or a timer behind that failed`;
    this.#tellFault(invocation, "unheard", text, reason);
  }

  #tellFault(
    { data }: Invocation,
    kind: Fault["kind"],
    message: string,
    error: unknown,
  ): void {
    const { subsystem, operation, key } = data;
    const messageId = String(data.context?.message_id ?? "");
    const shown = error === undefined ? "" : `\n${whole(error)}`;
    this.#options.logger.error(`${message} (message ${messageId}, key ${key})${shown}`);
    this.#options.tell("fault", { subsystem, operation, key, messageId, kind, message, error });
  }

  /** What fails to be removed is given out again, and answered again: harmless. */
  #remove(ids: string[]): void {
    const { requests } = this.#keys;
    const removing = this.#commands
      .pipeline()
      .xack(requests, GROUP, ...ids)
      .xdel(requests, ...ids);
    void this.#quietly(removing.exec());
  }

  /** The gateway waits no longer. A stream id begins with Redis's time. */
  #isLate(id: string, { timeoutms }: Invocation): boolean {
    const sentMs = Number(id.split("-")[0]);
    return performance.now() + this.#clockOffsetMs - sentMs > timeoutms;
  }

  async #quietly(work: Promise<unknown>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.#complain(error as Error);
    }
  }

  /** Say what is wrong, the same thing at most once a minute; connections say it themselves. */
  #complain(error: Error): void {
    if (isDisconnect(error)) return;
    const { message } = error;
    const { text, atMs } = this.#complaint;
    if (text === message && performance.now() - atMs < COMPLAIN_MS) return;
    this.#options.logger.warn(`${this.#contract.name}: ${message}`);
    this.#complaint = { text: message, atMs: performance.now() };
  }
}

function read([id, fields]: StreamEntry, deliveries: number): Entry {
  const at = fields?.findIndex((field, n) => n % 2 === 0 && field === "event") ?? -1;
  return { id, text: at < 0 ? undefined : fields?.[at + 1], deliveries };
}

/** Written, or to a key of a wrong type: such an entry could only be given out for ever. */
function isSettled(error: Error | null | undefined): boolean {
  return error === null || (error?.message.startsWith("WRONGTYPE") ?? false);
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", settle);
      resolve();
    };
    const timer = setTimeout(settle, ms);
    signal.addEventListener("abort", settle);
  });
}
