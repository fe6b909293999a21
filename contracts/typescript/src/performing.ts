/** One attempt that runs here: its time, its signal, its heartbeats, and what comes of it. */

import type { ActivityFunction } from "./activity.ts";
import { describe } from "./invocation.ts";
import { normalise, NotSerialisable, type Json } from "./json.ts";
import type { Logger } from "./logger.ts";

/** `data` of a CloudEvents 1.0 event of type `bridge.activity`. */
export interface Asked {
  id: string;
  subsystem: string;
  key: string;
  activity: string;
  attempt: number;
  request: Json;
  timeout_ms: number;
  heartbeat_ms: number;
}

export type Answer =
  | { ok: { reply: Json } }
  | { failed: { message: string; retryable: boolean; detail: { [key: string]: Json } } };

const MAX_MESSAGE = 4000;

/** Aborted for this reason, nothing is answered: nobody would hear it. */
export const UNWANTED = new Error("nobody wants the answer any more");

export class Performing {
  /** undefined: there is nobody to tell. */
  readonly answer: Promise<Answer | undefined>;
  readonly asked: Asked;
  readonly #abort = new AbortController();
  #beaten = true;
  #beatMs = performance.now();

  constructor(asked: Asked, perform: ActivityFunction, logger: Logger) {
    this.asked = asked;
    const where = `${asked.subsystem}.${asked.activity} ${asked.id}`;
    const { signal } = this.#abort;
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
    const late = new Error(`no answer within ${asked.timeout_ms} ms`);
    const timer = setTimeout(() => this.abort(late), asked.timeout_ms);
    const running = (async () =>
      await perform(asked.request, {
        signal,
        idempotencyKey: asked.id,
        attempt: asked.attempt,
        key: asked.key,
        heartbeat: () => this.#beat(),
        log: (text) => logger.info(`${where}: ${text}`),
      }))();
    running.catch(() => {}); // what it throws after its end is nobody's
    this.answer = Promise.race([running, aborted])
      .then((reply): Answer => ({ ok: { reply: normalise(reply ?? null, "reply") } }))
      .catch((error: unknown) => {
        if (error === UNWANTED) return undefined;
        logger.warn(`${where}, attempt ${asked.attempt}: ${describe(error)}`);
        return failed(error);
      })
      .finally(() => clearTimeout(timer));
  }

  abort(reason: Error): void {
    this.#abort.abort(reason);
  }

  /** Whether the function has said something since this was asked last. */
  beaten(): boolean {
    const { heartbeat_ms: most } = this.asked;
    if (most > 0 && performance.now() - this.#beatMs > most) {
      this.abort(new Error(`no heartbeat for ${most} ms`));
    }
    const beaten = this.#beaten;
    this.#beaten = false;
    return beaten;
  }

  #beat(): void {
    this.#beaten = true;
    this.#beatMs = performance.now();
  }
}

function failed(error: unknown): Answer {
  const named = error instanceof Error ? error.name : "";
  const message = describe(error).slice(0, MAX_MESSAGE).toWellFormed();
  const retryable = named !== "NotRetryable" && !(error instanceof NotSerialisable);
  return { failed: { message, retryable, detail: detailOf(error) } };
}

function detailOf(error: unknown): { [key: string]: Json } {
  try {
    const { detail } = error as { detail?: unknown };
    const plain = normalise(detail ?? {}, "detail");
    const isObject = typeof plain === "object" && plain !== null && !Array.isArray(plain);
    return isObject ? (plain as { [key: string]: Json }) : {};
  } catch {
    return {};
  }
}
