/**
 * Call a subsystem and follow its events, over WebSocket: `joelclaw-bridge/client`.
 *
 * Needs the package phoenix. Node 20 has no WebSocket of its own: give it one as `transport`.
 */

import { Socket, type Channel } from "phoenix";

import type { Shape } from "./implementation.ts";
import type { Json } from "./json.ts";

export interface ClientOptions {
  /** The subsystem's name. */
  subsystem: string;
  /** What `BRIDGE_TOKEN` of the bridge is. */
  token?: string | undefined;
  /** How long a call waits for its answer, connecting and repeating included. */
  timeoutMs?: number | undefined;
  /** A WebSocket class, such as that of the package ws. */
  transport?: unknown;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
  timeoutMs?: number | undefined;
  /** The message's id; made up if it is left out. Who repeats a call repeats its id. */
  messageId?: string | undefined;
}

export interface EventsOptions {
  /** The position of the last event that was seen; without it the first event is the next one. */
  since?: string | undefined;
  signal?: AbortSignal | undefined;
}

type Operation<S extends Shape, O extends keyof S["operations"]> = S["operations"][O];

/** What a client sends: members that have a default may be left out. */
export type RequestOf<S extends Shape, O extends keyof S["operations"]> =
  Operation<S, O> extends { defaults: infer D extends string }
    ? Omit<Operation<S, O>["request"], D> & Partial<Operation<S, O>["request"]>
    : Operation<S, O>["request"];

/** An event of a key. `(seq, n)` grows along the key; `position` is where to go on from. */
export type EventOf<S extends Shape> = S extends { events: infer E }
  ? {
      [T in keyof E & string]: {
        type: T;
        payload: E[T];
        key: string;
        position: string;
        seq: number;
        n: number;
        id: string;
      };
    }[keyof E & string]
  : never;

/**
 * The bridge's no, with its code ([protocol](docs/protocol.md)), or one of the client's own:
 * `no_answer` (not known whether it was applied: repeat with `detail.message_id`), `gap` (events
 * were missed: go on from `detail.position`), `closed`.
 */
export class CallError extends Error {
  override readonly name = "CallError";
  readonly code: string;
  readonly retryable: boolean;
  readonly detail: { [name: string]: Json };

  constructor(response: ErrorResponse) {
    super(response.message);
    this.code = response.code;
    this.retryable = response.retryable;
    this.detail = response.detail ?? {};
  }
}

interface ErrorResponse {
  code: string;
  message: string;
  retryable: boolean;
  detail?: { [name: string]: Json };
}

const TIMEOUT_MS = 15_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;
const MOST_IDLE = 50; // topics that stay joined though nobody calls there
const MOST_WAITING = 1_000; // events nobody has taken; then the topic is left until they are

/** Connect to the subsystem of the bridge at `url`: `http://127.0.0.1:4100`, or its `/socket`. */
export function client<S extends Shape>(url: string, options: ClientOptions): Client<S> {
  return new Client<S>(url, options);
}

export class Client<S extends Shape> {
  readonly #options: ClientOptions;
  readonly #connect: () => Socket;
  readonly #topics = new Map<string, Topic>();
  readonly #feeds = new Set<Feed<EventOf<S>>>();
  #socket: Socket | undefined;
  #closed = false;

  constructor(url: string, options: ClientOptions) {
    this.#options = options;
    const transport = options.transport ?? globalThis.WebSocket;
    if (typeof transport !== "function") {
      throw new TypeError("no WebSocket here: npm install ws, and give it as `transport`");
    }
    const authToken = options.token === undefined ? {} : { authToken: options.token };
    this.#connect = () => {
      const socket = new Socket(socketUrl(url), { transport: transport as never, ...authToken });
      socket.connect();
      return socket;
    };
  }

  /**
   * Ask for an operation on a key, and return its reply.
   *
   * What fails with a retryable error, or is lost with the connection, is repeated under the same
   * message id until `timeoutMs` are over: a command is applied once, or not at all. Throws
   * CallError, or the signal's reason; a command that was sent before the signal may be applied.
   */
  async call<O extends keyof S["operations"] & string>(
    key: string,
    operation: O,
    request: RequestOf<S, O>,
    options: CallOptions = {},
  ): Promise<S["operations"][O]["reply"]> {
    options.signal?.throwIfAborted();
    if (this.#closed) throw closed();
    const { timeoutMs = this.#options.timeoutMs ?? TIMEOUT_MS, signal } = options;
    const messageId = options.messageId ?? crypto.randomUUID();
    const call = new Waiting(timeoutMs, messageId, signal);
    const payload = { ...(request as object), message_id: messageId };
    const topic = this.#join(key);
    let pauseMs = FIRST_PAUSE_MS;
    try {
      for (;;) {
        const answer = await topic.ask(operation, payload, call);
        if (answer === "lost") continue; // pushed again, it waits until the topic is joined again
        if ("ok" in answer) return answer.ok;
        if (!answer.error.retryable) throw new CallError(answer.error);
        await call.pause(pauseMs * Math.random(), answer.error);
        pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
      }
    } finally {
      call.end();
      this.#leave(topic);
    }
  }

  /**
   * Yield a key's events in order, each once, across lost connections.
   *
   * Throws CallError with code `gap` where some are no longer kept, and the signal's reason.
   */
  async *events(key: string, options: EventsOptions = {}): AsyncGenerator<EventOf<S>, void> {
    options.signal?.throwIfAborted();
    if (this.#closed) throw closed();
    const topic = `${this.#options.subsystem}:${key}`;
    const feed = new Feed<EventOf<S>>(this.#connect(), topic, options.since);
    this.#feeds.add(feed);
    const abort = () => feed.fail(options.signal?.reason);
    options.signal?.addEventListener("abort", abort);
    try {
      for (;;) yield await feed.next();
    } finally {
      options.signal?.removeEventListener("abort", abort);
      this.#feeds.delete(feed);
      feed.close();
    }
  }

  /** Disconnect. What waits fails with code `closed`. */
  close(): void {
    this.#closed = true;
    for (const topic of this.#topics.values()) topic.fail(closed());
    for (const feed of this.#feeds) feed.fail(closed());
    this.#topics.clear();
    this.#socket?.disconnect();
  }

  #join(key: string): Topic {
    const name = `${this.#options.subsystem}:${key}`;
    let topic = this.#topics.get(name);
    if (topic === undefined || topic.refused) {
      this.#socket ??= this.#connect();
      topic = new Topic(this.#socket.channel(name, {}));
    }
    this.#topics.delete(name); // the one used last is the last
    this.#topics.set(name, topic);
    topic.users++;
    return topic;
  }

  #leave(topic: Topic): void {
    topic.users--;
    const idle = [...this.#topics].filter(([, { users }]) => users === 0);
    for (const [name, one] of idle.slice(0, Math.max(0, idle.length - MOST_IDLE))) {
      this.#topics.delete(name);
      one.channel.leave();
    }
  }
}

type Answer = { ok: any } | { error: ErrorResponse } | "lost";

/** A joined topic, and the pushes that wait for their answers. */
class Topic {
  readonly channel: Channel;
  users = 0;
  refused = false;
  readonly #pushes = new Set<Push>();

  constructor(channel: Channel) {
    this.channel = channel;
    channel.onError(() => {
      for (const push of this.#pushes) if (push.sent) push.settle("lost");
    });
    channel
      .join()
      .receive("ok", () => {
        for (const push of this.#pushes) push.sent = true;
      })
      .receive("error", (error: ErrorResponse) => {
        if (error.retryable) return; // phoenix.js joins again
        this.refused = true;
        for (const push of this.#pushes) push.settle({ error });
        channel.leave();
      });
  }

  ask(operation: string, payload: object, call: Waiting): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const push: Push = {
        sent: this.channel.state === "joined",
        settle: (answer) => {
          this.#pushes.delete(push);
          resolve(answer);
        },
        fail: (error) => {
          this.#pushes.delete(push);
          reject(error);
        },
      };
      this.#pushes.add(push);
      call.begin(push.fail);
      this.channel
        .push(operation, payload, call.leftMs())
        .receive("ok", (ok) => push.settle({ ok }))
        .receive("error", (error: ErrorResponse) => push.settle({ error }));
    });
  }

  fail(error: unknown): void {
    for (const push of this.#pushes) push.fail(error);
  }
}

interface Push {
  sent: boolean;
  settle(answer: Answer): void;
  fail(error: unknown): void;
}

/** The time a call has left, and its caller's signal: either calls `onEnd`. */
class Waiting {
  onEnd: (error: unknown) => void = () => {};
  readonly #until: number;
  readonly #timer: NodeJS.Timeout;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = () => this.onEnd(this.#signal?.reason);
  readonly #noAnswer: ErrorResponse;
  #error: ErrorResponse;

  constructor(timeoutMs: number, messageId: string, signal: AbortSignal | undefined) {
    const message = `no answer within ${timeoutMs} ms`;
    const detail = { message_id: messageId };
    this.#noAnswer = { code: "no_answer", message, retryable: true, detail };
    this.#error = this.#noAnswer;
    this.#until = performance.now() + timeoutMs;
    this.#timer = setTimeout(() => this.onEnd(new CallError(this.#error)), timeoutMs);
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort);
  }

  /** Push again: what an earlier attempt said is nothing about this one. */
  begin(onEnd: (error: unknown) => void): void {
    this.#error = this.#noAnswer;
    this.onEnd = onEnd;
  }

  /** A margin, so that it is this and not phoenix.js that says when it is over. */
  leftMs(): number {
    return Math.max(0, this.#until - performance.now()) + 1_000;
  }

  /** Wait after an error, which is the call's if its time ends meanwhile. */
  pause(ms: number, error: ErrorResponse): Promise<void> {
    this.#error = error;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, ms);
      this.onEnd = (reason) => {
        clearTimeout(timer);
        reject(reason);
      };
    });
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#abort);
  }
}

interface Told {
  position: string;
  seq: number;
  n: number;
}

/** The events of one topic over a socket of its own, taken one after the other. */
class Feed<Event> {
  readonly #socket: Socket;
  readonly #topic: string;
  readonly #waiting: Event[] = [];
  #channel: Channel | undefined;
  #since: string | undefined;
  #last = { seq: 0, n: -1 };
  #failed: { error: unknown } | undefined;
  #wake = () => {};

  constructor(socket: Socket, topic: string, since: string | undefined) {
    this.#socket = socket;
    this.#topic = topic;
    this.#since = since;
    this.#join();
  }

  async next(): Promise<Event> {
    for (;;) {
      const event = this.#waiting.shift();
      if (event !== undefined) return event;
      if (this.#failed) throw this.#failed.error;
      if (this.#channel === undefined) this.#join();
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  fail(error: unknown): void {
    this.#failed ??= { error };
    this.#wake();
  }

  close(): void {
    this.#socket.disconnect();
  }

  #join(): void {
    const params = () => (this.#since === undefined ? {} : { since: this.#since });
    const channel = this.#socket.channel(this.#topic, params);
    this.#channel = channel;
    channel.onMessage = (event, payload) => {
      if (this.#channel === channel && !/^(phx|chan)_/.test(event)) this.#take(event, payload);
      return payload;
    };
    channel
      .join()
      .receive("ok", ({ position, gap }: { position: string; gap?: true }) => {
        if (gap) this.fail(missed(this.#topic, position));
        this.#since ??= position;
      })
      .receive("error", (error: ErrorResponse) => {
        if (!error.retryable) this.fail(new CallError(error));
      });
  }

  #take(type: string, event: Told): void {
    this.#since = event.position;
    const last = this.#last;
    if (event.seq < last.seq || (event.seq === last.seq && event.n <= last.n)) return;
    this.#last = event;
    if (this.#waiting.push({ type, ...event } as Event) >= MOST_WAITING) {
      this.#channel?.leave(); // and join from here once these are taken
      this.#channel = undefined;
    }
    this.#wake();
  }
}

function closed(): CallError {
  return new CallError({ code: "closed", message: "the client is closed", retryable: false });
}

function missed(topic: string, position: string): CallError {
  const message = `events of ${topic} were missed: they are no longer kept`;
  return new CallError({ code: "gap", message, retryable: false, detail: { position } });
}

/** phoenix.js wants `ws://…/socket`; the README names `http://…`. */
function socketUrl(url: string): string {
  const parsed = new URL(url);
  parsed.protocol = { "http:": "ws:", "https:": "wss:" }[parsed.protocol] ?? parsed.protocol;
  if (parsed.pathname === "/") parsed.pathname = "/socket";
  return parsed.href;
}
