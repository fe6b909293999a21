/** Activities: functions with the outside world in them, which `call` effects ask for. */

import type { Shape } from "./implementation.ts";
import type { Json } from "./json.ts";

/** What an activity is handed beside the request. */
export interface ActivityCall {
  /** Aborted when the attempt's time is up, or nobody wants the answer any more. */
  signal: AbortSignal;
  /** The same in every attempt: give it to whatever you call, so that it happens once. */
  idempotencyKey: string;
  /** 1 is the first. */
  attempt: number;
  /** The key that asked. */
  key: string;
  /** Say that it gets on. Where the contract has `heartbeat_ms`, an attempt must, that often. */
  heartbeat: () => void;
  /** Add a line to the service's log, with the call's id. */
  log: (text: string) => void;
}

export type ActivityFunction<Request = any, Reply = unknown> = (
  request: Request,
  call: ActivityCall,
) => Promise<Reply>;

export interface Activity {
  readonly name: string;
  readonly perform: ActivityFunction;
}

/**
 * Name a function as the activity of a contract.
 *
 * It is run at least once: again, with the same `idempotencyKey`, when it throws, when its time is
 * up, and when this process does not live to answer.
 */
export function activity<Request = any, Reply = unknown>(
  name: string,
  perform: ActivityFunction<Request, Reply>,
): Activity {
  if (typeof perform !== "function") {
    throw new TypeError(`activity ${name}: expected a function, got ${typeof perform}`);
  }
  return { name, perform };
}

/** One function for each activity that a contract gives to TypeScript. */
export type ActivitiesOf<S extends Shape> = {
  [N in keyof S["activities"] as S["activities"][N] extends { runtime: "typescript" }
    ? N
    : never]: S["activities"][N] extends { request: infer Request; reply: infer Reply }
    ? ActivityFunction<Request, Reply>
    : never;
};

/** Name functions by a contract's types; the compiler asks for each of its activities here. */
export function activities<S extends Shape>(table: ActivitiesOf<S>): Activity[] {
  return Object.entries<ActivityFunction>(table).map(([name, perform]) => activity(name, perform));
}

/**
 * Trying again is no use: `then` is told at once.
 *
 * Any error of this name counts, so an activity may carry its own copy of this class.
 */
export class NotRetryable extends Error {
  override readonly name = "NotRetryable";
  readonly detail: { [key: string]: Json };

  constructor(message: string, detail: { [key: string]: Json } = {}) {
    super(message);
    this.detail = detail;
  }
}
