/** The service: implementations on Redis streams, one consumer for all of them. */

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { setTimeout as pause } from "node:timers/promises";

import type { Redis } from "ioredis";

import type { Contract } from "./contract.ts";
import { contracts as builtIn } from "./generated/contracts.ts";
import type { Handler } from "./implementation.ts";
import { Intake } from "./intake.ts";
import { RENEW_MS } from "./presence.ts";
import { connect, type Log } from "./redis.ts";

export interface ServeOptions {
  redisUrl?: string;
  /** Contracts of your subsystems, by name; the built-in ones are known. */
  contracts?: Readonly<Record<string, Contract>>;
  /** Computing time of one handler call. It shares the thread with all others. */
  budgetMs?: number;
  /** Take over what another consumer has had for so long without answering. */
  claimIdleMs?: number;
  log?: Log;
  /** @internal Which version of its sources a handler is; told with each answer. */
  builds?: Readonly<Record<string, string>>;
}

/** Gateways look who is there once a second: what they send until then is still answered. */
const LEAVE_MS = 1200;
const FORGET_EVERY = 10;

/**
 * Serve implementations until `close`.
 *
 * Needs no Redis to start: it joins when there is one. Throws for a subsystem without contract.
 */
export function serve(
  handlers: Readonly<Record<string, Handler>>,
  options: ServeOptions = {},
): Service {
  const known = { ...builtIn, ...options.contracts };
  const served = Object.entries(handlers).map(([name, handle]) => {
    const contract = known[name];
    if (contract) return [contract, handle] as const;
    const names = Object.keys(known).sort().join(", ");
    throw new Error(`no contract of ${name}: expected one of ${names}`);
  });
  return new Service(served, options);
}

export class Service {
  /** Name of this consumer in every group; also in the leases. */
  readonly consumer = `${hostname()}-${process.pid}-${randomBytes(4).toString("hex")}`;
  readonly #intakes: ReadonlyMap<string, Intake>;
  readonly #commands: Redis;
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout;
  #pulse: Promise<void> | undefined;
  #pulses = 0;
  #closing: Promise<void> | undefined;

  constructor(served: ReadonlyArray<readonly [Contract, Handler]>, options: ServeOptions) {
    const { redisUrl = "redis://127.0.0.1:6379", budgetMs = 250, claimIdleMs = 5000 } = options;
    this.#log = options.log ?? console.error;
    this.#commands = connect(redisUrl, "bridge-typescript", this.#log);
    const shared = { consumer: this.consumer, budgetMs, claimIdleMs, log: this.#log };
    const intakes = served.map(([contract, handle]) => {
      // Each its own, so that one subsystem's long batch holds up nobody else's reads.
      const blocking = connect(redisUrl, `bridge-typescript-${contract.name}`);
      const connections = { commands: this.#commands, blocking };
      const build = options.builds?.[contract.name] ?? "";
      const intake = new Intake(contract, handle, connections, { ...shared, build });
      return [contract.name, intake] as const;
    });
    this.#intakes = new Map(intakes);
    this.#commands.on("ready", () => this.#beat());
    this.#timer = setInterval(() => this.#beat(), RENEW_MS);
  }

  /** The subsystems joined now; one whose contract differs from the gateway's is not. */
  get serving(): string[] {
    return [...this.#intakes].filter(([, intake]) => intake.serving).map(([name]) => name);
  }

  /** Leave, answer what was already sent, and disconnect. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    const intakes = [...this.#intakes.values()];
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
  }

  #beat(): void {
    if (this.#pulse || this.#closing || this.#commands.status !== "ready") return;
    this.#pulse = this.#pulseAll().finally(() => {
      this.#pulse = undefined;
    });
  }

  async #pulseAll(): Promise<void> {
    const forget = this.#pulses++ % FORGET_EVERY === 0;
    const work = [...this.#intakes.values()].map(async (intake) => {
      await intake.pulse();
      if (forget) await intake.forgetDead();
    });
    await Promise.all(work);
  }
}
