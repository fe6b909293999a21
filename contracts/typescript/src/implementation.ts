/** What an implementation is: a function of state and message. No I/O here. */

import type { Effect } from "./generated/effects.ts";
import type { Json } from "./json.ts";

export type { Effect };

/** All a handler may know of the world. Times are integer milliseconds since 1970. */
export interface Context {
  key: string;
  message_id: string;
  now_ms: number;
  local: { date: string; time: string; zone: string };
  /** 64 hex digits; `derivedRandom(seed, n)` is the only randomness a handler has. */
  seed: string;
  deadline_ms: number;
}

/** What a handler answers: reply, effects as data, and the key's next state. */
export interface Outcome<Reply = unknown, State = unknown> {
  reply: Reply;
  /** Ignored for a query, as is `state`. */
  effects?: readonly Effect[];
  state?: State;
}

/**
 * Answer one message. Not async, no clock, no I/O, no randomness but the context's.
 *
 * Throw a Refusal to say no. `state` and `request` are the handler's own copies, already held
 * to the contract: declare them with the contract's types (hence `any` here).
 */
export type Handler = (state: any, operation: string, request: any, context: Context) => Outcome;

/**
 * Return a state that an older version of the contract wrote as this version has it. A module
 * exports it as `migrate` beside `handle`, where the contract names `migrates_from`.
 */
export type Migrate = (state: any, fromVersion: number, context: Context) => unknown;

const migrations = new WeakMap<Handler, Migrate>();

/** Let a handler's subsystem migrate states: `serve({ tally: migrating(handle, migrate) })`. */
export function migrating(handle: Handler, migrate: Migrate): Handler {
  requireFunction("migrate", migrate);
  migrations.set(handle, migrate);
  return handle;
}

export function migrationOf(handle: Handler): Migrate | undefined {
  return migrations.get(handle);
}

/**
 * The types of one contract, as `bridge contracts generate` writes them.
 *
 * Of what is left out nothing is checked: `kind` of an operation, the kinds of its `effects`, the
 * reasons it may refuse with (`errors`), the members of a request that a client may leave out
 * (`defaults`), the payloads of `events`.
 */
export interface Shape {
  state: unknown;
  operations: Record<
    string,
    {
      request: unknown;
      reply: unknown;
      kind?: string;
      effects?: string;
      errors?: string;
      defaults?: string;
    }
  >;
  events?: object;
  activities?: Record<string, { runtime: string; request: unknown; reply: unknown }>;
}

type Member<T, K extends string, Otherwise> = T extends { [M in K]: infer V } ? V : Otherwise;

type EmitOf<S extends Shape> = S extends { events: infer E }
  ? { [T in keyof E & string]: { effect: "emit"; type: T; payload: E[T] } }[keyof E & string]
  : Extract<Effect, { effect: "emit" }>;

type ScheduleOf<S extends Shape> = {
  [O in keyof S["operations"] & string]: Omit<Extract<Effect, { effect: "schedule" }>, "request"> & {
    operation: O;
    request: Partial<S["operations"][O]["request"]>;
  };
}[keyof S["operations"] & string];

type Call = Extract<Effect, { effect: "call" }>;
type Then<S extends Shape> = { then: keyof S["operations"] & string };

/** Of an activity the contract has, with its request; or of another subsystem's operation. */
type CallOf<S extends Shape> =
  | (S extends { activities: infer A extends NonNullable<Shape["activities"]> }
      ? {
          [N in keyof A & string]: Omit<Call, "to" | "request" | "then" | "operation"> &
            Then<S> & { to: N; request: A[N]["request"] };
        }[keyof A & string]
      : never)
  | (Omit<Call, "to" | "then" | "operation"> &
      Then<S> & { to: `${string}:${string}`; operation: string });

/** The effects an operation may ask for; of all operations, if none is named. */
export type EffectOf<
  S extends Shape,
  O extends keyof S["operations"] = keyof S["operations"],
> = O extends unknown
  ? Extract<
      | Exclude<Effect, { effect: "emit" | "schedule" | "call" }>
      | EmitOf<S>
      | ScheduleOf<S>
      | CallOf<S>,
      { effect: Member<S["operations"][O], "effects", string> }
    >
  : never;

/** The reasons an operation may refuse with: `new Refusal<ReasonOf<Subsystem, "add">>("full")`. */
export type ReasonOf<
  S extends Shape,
  O extends keyof S["operations"] = keyof S["operations"],
> = O extends unknown ? Member<S["operations"][O], "errors", string> & string : never;

type Answered<S extends Shape, O extends keyof S["operations"]> =
  Member<S["operations"][O], "kind", "either"> extends "query"
    ? { reply: S["operations"][O]["reply"]; effects?: readonly []; state?: unknown }
    : Member<S["operations"][O], "kind", "either"> extends "command"
      ? {
          reply: S["operations"][O]["reply"];
          effects?: readonly EffectOf<S, O>[];
          state: S["state"];
        }
      : Outcome<S["operations"][O]["reply"], S["state"]>;

export type Operations<S extends Shape> = {
  [O in keyof S["operations"]]: (
    state: S["state"],
    request: S["operations"][O]["request"],
    context: Context,
  ) => Answered<S, O>;
};

/**
 * Make a handler of one function per operation; the compiler asks for each of them.
 *
 * Throws a TypeError for one that is async or a generator: it would run on after its answer.
 */
export function operations<S extends Shape>(table: Operations<S>): Handler {
  const functions = new Map<string, (state: any, request: any, context: Context) => Outcome>(
    Object.entries(table),
  );
  for (const [name, answer] of functions) requireFunction(name, answer);
  return (state, operation, request, context) => {
    const answer = functions.get(operation);
    if (!answer) throw new Error(`operation ${operation} is not implemented`);
    return answer(state, request, context);
  };
}

const TAGS: Record<string, string> = {
  "[object AsyncFunction]": "async",
  "[object GeneratorFunction]": "a generator",
  "[object AsyncGeneratorFunction]": "an async generator",
};

/** Throw a TypeError for what is no function, or one whose work does not end with its call. */
export function requireFunction(name: string, handle: unknown): void {
  if (typeof handle !== "function") {
    throw new TypeError(`${name}: expected a function, got ${typeof handle}`);
  }
  const kind = TAGS[Object.prototype.toString.call(handle)];
  if (kind) throw new TypeError(`${name}: expected a plain function, this one is ${kind}`);
}

/**
 * A handler's own no: nothing is committed, the client gets `refused`.
 *
 * `reason` must be declared in the operation's `errors`. Any error named `Refusal` that has a
 * string `reason` counts, so an implementation may carry its own copy of this class.
 */
export class Refusal<Reason extends string = string> extends Error {
  override readonly name = "Refusal";
  readonly reason: Reason;
  readonly detail: { [key: string]: Json };

  constructor(reason: Reason, message = "", detail: { [key: string]: Json } = {}) {
    super(message || reason);
    this.reason = reason;
    this.detail = detail;
  }
}

/** What of a Refusal is read; whose class it is does not matter. */
export interface Refused {
  reason: string;
  message: unknown;
  detail?: unknown;
}

export function isRefusal(error: unknown): error is Refused {
  return (
    error instanceof Error &&
    error.name === "Refusal" &&
    "reason" in error &&
    typeof error.reason === "string"
  );
}
