/** One subsystem's activities: taken from their streams, run, answered. */

import type { Redis } from "ioredis";

import type { Activity } from "./activity.ts";
import { activity as script } from "./generated/scripts.ts";
import { decode } from "./json.ts";
import type { Logger } from "./logger.ts";
import { Performing, UNWANTED, type Answer, type Asked } from "./performing.ts";
import { isDisconnect, usable } from "./redis.ts";

const GROUP = "typescript";
const LEASE_MS = 3000;
const BLOCK_MS = 1000;
/** Read by a consumer that did not live to take it. */
const LEFT_MS = 5000;
const MAX_RUNNING = 100;
const MAX_REPLIES = 10_000;
const REPLIES_TTL_MS = 60_000;
const RECOVER_MS = 250;
const CLOSE_MS = 1000;

type StreamEntry = [id: string, fields: string[] | null];

interface Taken {
  stream: string;
  entry: string;
  asked: Asked;
  replyto: string;
}

/**
 * Serves the activities of one subsystem, from the first `pulse` until `close`.
 *
 * The worker that asked watches: an attempt whose service says nothing any more is made again.
 */
export class Performer {
  readonly subsystem: string;
  readonly #activities: ReadonlyMap<string, Activity>;
  readonly #commands: Redis;
  readonly #blocking: Redis;
  readonly #consumer: string;
  readonly #logger: Logger;
  readonly #prefix: string;
  readonly #stop = new AbortController();
  readonly #running = new Map<string, Performing>();
  #waiting: Array<() => void> = [];
  #serving = false;
  #reading: Promise<void> | undefined;
  #said = "";

  constructor(
    subsystem: string,
    activities: readonly Activity[],
    connections: { commands: Redis; blocking: Redis },
    options: { consumer: string; logger: Logger },
  ) {
    this.subsystem = subsystem;
    this.#activities = new Map(activities.map((each) => [each.name, each]));
    this.#commands = connections.commands;
    this.#blocking = connections.blocking;
    this.#consumer = options.consumer;
    this.#logger = options.logger;
    this.#prefix = `joelclaw:bridge:{${subsystem}}:`;
  }

  /** Whether no gateway has announced itself there. */
  get waiting(): boolean {
    return !this.#serving;
  }

  /** Renew the leases, say that what runs still runs, take what others left; each second. */
  async pulse(): Promise<void> {
    await this.#quietly(this.#renew());
  }

  async #renew(): Promise<void> {
    for (const name of this.#activities.keys()) {
      this.#serving = (await this.#run(name, "serve", this.#consumer, LEASE_MS)) === 1;
    }
    if (!this.#serving || this.#stop.signal.aborted) return;
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    await Promise.all([...this.#running.values()].map((each) => this.#keep(each)));
    for (const name of this.#activities.keys()) await this.#takeOver(this.#stream(name));
  }

  async #keep(performing: Performing): Promise<void> {
    const { activity, id, attempt } = performing.asked;
    const beat = performing.beaten() ? 1 : 0;
    if ((await this.#run(activity, "keep", id, attempt, beat)) === 0) performing.abort(UNWANTED);
  }

  async #read(): Promise<void> {
    const streams = [...this.#activities.keys()].map((name) => this.#stream(name));
    while (!this.#stop.signal.aborted && (await usable(this.#blocking, this.#stop.signal))) {
      const free = MAX_RUNNING - this.#running.size;
      if (free <= 0) {
        await this.#ended();
        continue;
      }
      try {
        const found = (await this.#blocking.xreadgroup(
          "GROUP",
          GROUP,
          this.#consumer,
          "COUNT",
          free,
          "BLOCK",
          BLOCK_MS,
          "STREAMS",
          ...streams,
          ...streams.map(() => ">"),
        )) as Array<[string, StreamEntry[]]> | null;
        for (const [stream, entries] of found ?? []) {
          await Promise.all(entries.map((entry) => this.#take(stream, entry)));
        }
      } catch (error) {
        if (!this.#stop.signal.aborted) await this.#recover(error as Error, streams);
      }
    }
  }

  async #recover(error: Error, streams: readonly string[]): Promise<void> {
    if (/NOGROUP|UNBLOCKED/.test(error.message)) {
      await this.#quietly(Promise.all(streams.map((stream) => this.#createGroup(stream))));
      return;
    }
    this.#complain(error);
    await new Promise((resolve) => setTimeout(resolve, RECOVER_MS));
  }

  async #createGroup(stream: string): Promise<void> {
    try {
      await this.#commands.xgroup("CREATE", stream, GROUP, "0", "MKSTREAM");
    } catch (error) {
      if (!(error as Error).message.startsWith("BUSYGROUP")) throw error;
    }
  }

  async #takeOver(stream: string): Promise<void> {
    try {
      const pending = (await this.#commands.xpending(
        stream,
        GROUP,
        "IDLE",
        LEFT_MS,
        "-",
        "+",
        MAX_RUNNING,
      )) as Array<[id: string]>;
      if (pending.length === 0) return;
      const ids = pending.map(([id]) => id);
      const claimed = (await this.#commands.xclaim(
        stream,
        GROUP,
        this.#consumer,
        LEFT_MS,
        ...ids,
      )) as Array<StreamEntry | null>;
      const ours = claimed.filter((entry) => entry !== null);
      // Deleted meanwhile: Redis 6.2 keeps them pending until somebody acknowledges them.
      const gone = ids.filter((id) => !ours.some(([mine]) => mine === id));
      if (gone.length > 0) await this.#commands.xack(stream, GROUP, ...gone);
      await Promise.all(ours.map((entry) => this.#take(stream, entry)));
    } catch (error) {
      if (!(error as Error).message.startsWith("NOGROUP")) throw error;
      await this.#createGroup(stream);
    }
  }

  async #take(stream: string, entry: StreamEntry): Promise<void> {
    const taken = read(stream, entry);
    const activity = taken && this.#activities.get(taken.asked.activity);
    if (!taken || !activity) {
      this.#complain(new Error(`${stream}: dropped an entry that asks for nothing known`));
      await this.#commands.xack(stream, GROUP, entry[0]);
      await this.#commands.xdel(stream, entry[0]);
      return;
    }
    const { id, attempt } = taken.asked;
    const wanted = await this.#run(activity.name, "take", stream, GROUP, entry[0], id, attempt);
    if (wanted === 1) void this.#perform(activity, taken);
  }

  async #perform(activity: Activity, { asked, replyto }: Taken): Promise<void> {
    const name = `${asked.id}/${asked.attempt}`;
    const performing = new Performing(asked, activity.perform, this.#logger);
    this.#running.set(name, performing);
    const answer = await performing.answer;
    try {
      if (answer !== undefined) await this.#answer(asked, replyto, name, answer);
    } finally {
      this.#running.delete(name);
      for (const tell of this.#waiting.splice(0)) tell();
    }
  }

  /** Wait until one that runs has ended. */
  async #ended(): Promise<void> {
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Keep the answer with the call, then have the worker look; for as long as Redis is away. */
  async #answer(asked: Asked, replyto: string, name: string, answer: Answer): Promise<void> {
    const text = JSON.stringify(answer);
    while (await usable(this.#commands, AbortSignal.timeout(asked.timeout_ms))) {
      try {
        await this.#run(asked.activity, "answer", asked.id, asked.attempt, text);
        const event = JSON.stringify({ data: { invocation: name } });
        await this.#commands
          .pipeline()
          .xadd(replyto, "MAXLEN", "~", MAX_REPLIES, "*", "event", event)
          .pexpire(replyto, REPLIES_TTL_MS)
          .exec();
        return;
      } catch (error) {
        this.#complain(error as Error);
        if (!isDisconnect(error as Error)) return;
        await new Promise((resolve) => setTimeout(resolve, RECOVER_MS));
      }
    }
  }

  /** Be asked no more; what runs is still answered, until `close`. */
  async leave(): Promise<void> {
    for (const name of this.#activities.keys()) await this.#run(name, "leave", this.#consumer);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#blocking.disconnect();
    const answers = (): Promise<unknown> =>
      Promise.allSettled([...this.#running.values()].map(({ answer }) => answer));
    const late = new Promise((resolve) => setTimeout(resolve, CLOSE_MS, "late").unref());
    if ((await Promise.race([answers(), late])) === "late") {
      for (const each of this.#running.values()) {
        each.abort(new Error("the service is stopping"));
      }
    }
    while (this.#running.size > 0 && this.#commands.status === "ready") await this.#ended();
  }

  #stream(activity: string): string {
    return `${this.#prefix}activities:${activity}`;
  }

  async #run(activity: string, ...arguments_: Array<string | number>): Promise<number> {
    const tag = "";
    const answer = await this.#commands.eval(script, 1, this.#prefix, tag, activity, ...arguments_);
    return Number((answer as [string, number])[1]);
  }

  async #quietly(work: Promise<unknown>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.#complain(error as Error);
    }
  }

  /** Say what is wrong, the same thing once; connections say it themselves. */
  #complain(error: Error): void {
    if (isDisconnect(error) || this.#said === error.message) return;
    this.#said = error.message;
    this.#logger.warn(`activities of ${this.subsystem}: ${error.message}`);
  }
}

function read(stream: string, [entry, fields]: StreamEntry): Taken | undefined {
  try {
    const event = decode(fields?.[1] ?? "") as { data: Asked; replyto: string };
    const { data, replyto } = event;
    const known = typeof data.id === "string" && replyto.startsWith("joelclaw:bridge:replies:");
    return known ? { stream, entry, asked: data, replyto } : undefined;
  } catch {
    return undefined;
  }
}
