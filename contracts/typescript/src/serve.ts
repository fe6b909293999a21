/** The service: implementations on Redis streams, one consumer for all of them. */

import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { hostname } from "node:os";
import { setTimeout as pause } from "node:timers/promises";

import type { Redis } from "ioredis";

import type { Activity } from "./activity.ts";
import type { Contract } from "./contract.ts";
import { requireFunction, type Handler } from "./implementation.ts";
import { Intake } from "./intake.ts";
import type { FaultKind } from "./invocation.ts";
import { toStderr, whole, type Logger } from "./logger.ts";
import { Performer } from "./performer.ts";
import { RENEW_MS } from "./presence.ts";
import { addressOf, connect, Stranger } from "./redis.ts";
import { listen } from "./unheard.ts";

export interface ServeOptions {
  /** The bridge's own Redis; BRIDGE_REDIS_URL if it is not given. */
  redisUrl?: string | undefined;
  /** Activities that run here, by subsystem: `{ agents: [activity("plan", plan)] }`. */
  activities?: Readonly<Record<string, readonly Activity[]>>;
  /** The contract of each subsystem, by name: `contractOf` makes one of its file. */
  contracts?: Readonly<Record<string, Contract>>;
  /** Computing time of one handler call. It shares the thread with all others. */
  budgetMs?: number;
  /** Take over what another consumer has had for so long without answering. */
  claimIdleMs?: number;
  /** `console`, pino, winston, …; standard error if it is not given. */
  logger?: Logger;
  /** @internal Which version of its sources a handler is; told with each answer. */
  builds?: Readonly<Record<string, string>>;
}

/** An implementation's fault: what the gateway is told, and what was thrown. */
export interface Fault {
  subsystem: string;
  operation: string;
  key: string;
  messageId: string;
  kind: FaultKind | "unheard";
  message: string;
  error?: unknown;
}

/**
 * What a service tells. `ready`: a subsystem is served from now on. `lost`: its lease ran out, as
 * this process stood still or Redis was away; `ready` follows once it has one again. `refused`:
 * it is not served, as the gateway has another contract. `fault`: an implementation failed; of kind
 * `unheard` for a promise or a timer it left behind.
 */
export interface ServiceEvents {
  ready: [subsystem: string];
  lost: [subsystem: string];
  refused: [refusal: { subsystem: string; ours: string; theirs: string }];
  fault: [fault: Fault];
}

/** Gateways look who is there once a second: what they send until then is still answered. */
const LEAVE_MS = 1200;
const FORGET_EVERY = 10;
/** A gateway that starts at the same time says its first word within a second. */
const ALONE_MS = 100;

/**
 * Serve implementations until `close`.
 *
 * Needs no Redis to start: it joins when there is one. Throws for a subsystem without contract,
 * for a handler that is async or a generator, and without an address of Redis.
 */
export function serve(
  handlers: Readonly<Record<string, Handler>>,
  options: ServeOptions,
): Service {
  const { contracts = {} } = options;
  const served = Object.entries(handlers).map(([name, handle]) => {
    requireFunction(name, handle);
    const contract = contracts[name];
    if (contract) return [contract, handle] as const;
    const names = Object.keys(contracts).sort().join(", ");
    throw new Error(`no contract of ${name}: there are ${names || "none"}`);
  });
  return new Service(served, options);
}

export class Service extends EventEmitter<ServiceEvents> {
  /** Name of this consumer in every group; also in the leases. */
  readonly consumer = `${hostname()}-${process.pid}-${randomBytes(4).toString("hex")}`;
  readonly #intakes: ReadonlyMap<string, Intake>;
  readonly #performers: readonly Performer[];
  readonly #commands: Redis;
  readonly #logger: Logger;
  readonly #stranger: Stranger;
  readonly #unlisten: () => void;
  readonly #timer: NodeJS.Timeout;
  #pulse: Promise<void> | undefined;
  #pulses = 0;
  #alone = false;
  #closing: Promise<void> | undefined;

  constructor(served: ReadonlyArray<readonly [Contract, Handler]>, options: ServeOptions) {
    super();
    const { budgetMs = 250, claimIdleMs = 5000 } = options;
    const redisUrl = addressOf(options.redisUrl);
    this.#logger = options.logger ?? toStderr();
    this.#commands = connect(redisUrl, "bridge-typescript", this.#logger);
    this.#stranger = new Stranger(this.#commands, this.#logger);
    this.#unlisten = listen();
    const shared = {
      consumer: this.consumer,
      budgetMs,
      claimIdleMs,
      logger: this.#logger,
      tell: this.#tell.bind(this),
    };
    const intakes = served.map(([contract, handle]) => {
      // Each its own, so that one subsystem's long batch holds up nobody else's reads.
      const blocking = connect(redisUrl, `bridge-typescript-${contract.name}`);
      const connections = { commands: this.#commands, blocking };
      const build = options.builds?.[contract.name] ?? "";
      const intake = new Intake(contract, handle, connections, { ...shared, build });
      return [contract.name, intake] as const;
    });
    this.#intakes = new Map(intakes);
    this.#performers = Object.entries(options.activities ?? {}).map(([name, activities]) => {
      const blocking = connect(redisUrl, `bridge-activities-${name}`);
      const connections = { commands: this.#commands, blocking };
      return new Performer(name, activities, connections, shared);
    });
    this.#commands.on("ready", () => this.#beat());
    this.#timer = setInterval(() => this.#beat(), RENEW_MS);
  }

  /** The subsystems joined now; one whose contract differs from the gateway's is not. */
  get serving(): string[] {
    return [...this.#intakes].filter(([, intake]) => intake.serving).map(([name]) => name);
  }

  /**
   * Leave, answer what was already sent, and disconnect: within 4 s, and what a handler computes
   * meanwhile.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    const intakes = [...this.#intakes.values(), ...this.#performers];
    if (this.#commands.status === "ready") {
      const left = await Promise.race([
        Promise.allSettled([this.#pulse, ...intakes.map((intake) => intake.leave())]),
        pause(LEAVE_MS, undefined, { ref: false }),
      ]);
      if (left) await pause(LEAVE_MS);
    }
    await Promise.race([
      Promise.allSettled(intakes.map((intake) => intake.close())),
      pause(LEAVE_MS, undefined, { ref: false }),
    ]);
    this.#commands.disconnect();
    this.#unlisten();
  }

  #tell<E extends keyof ServiceEvents>(event: E, ...args: ServiceEvents[E]): void {
    try {
      (this as EventEmitter).emit(event, ...args);
    } catch (error) {
      this.#logger.error(`a listener of ${event} failed: ${whole(error)}`);
    }
  }

  #beat(): void {
    if (this.#pulse || this.#closing || this.#commands.status !== "ready") return;
    this.#pulse = this.#pulseAll().finally(() => {
      this.#pulse = undefined;
      if (this.#alone) setTimeout(() => this.#beat(), ALONE_MS);
    });
  }

  async #pulseAll(): Promise<void> {
    const forget = this.#pulses++ % FORGET_EVERY === 0;
    const work = [...this.#intakes.values()].map(async (intake) => {
      await intake.pulse();
      if (forget) await intake.forgetDead();
    });
    await Promise.all([...work, ...this.#performers.map((performer) => performer.pulse())]);
    const parts = [...this.#intakes.values(), ...this.#performers];
    this.#alone = parts.every((part) => part.waiting);
    this.#stranger.seen(!this.#alone);
  }
}
