/** One invocation: what comes from the gateway, what is answered. No I/O here. */

import type { Contract } from "./contract.ts";
import {
  isRefusal,
  migrationOf,
  type Context,
  type Handler,
  type Refused,
} from "./implementation.ts";
import { decode, jsonType, normalise, NotSerialisable, type Json } from "./json.ts";

/** A CloudEvents 1.0 event of type `bridge.invocation`, as far as it is read here. */
export interface Invocation {
  id: string;
  subject: string;
  replyto: string;
  timeoutms: number;
  data: {
    subsystem: string;
    key: string;
    operation: string;
    kind: "command" | "query" | "migration";
    request: Json;
    state: Json;
    context: Context;
    digest: string;
  };
}

export type FaultKind =
  "crashed" | "timeout" | "off_contract" | "not_serialisable" | "digest_mismatch";

/** `data` of the answer, but for the invocation's id. */
export type Answer =
  | { ok: { reply: Json; effects?: Json; state?: Json } }
  | { refused: { reason: string; message: string; detail: { [key: string]: Json } } }
  | { fault: { kind: FaultKind; message: string } };

const REPLIES = "joelclaw:bridge:replies:";
const MAX_MESSAGE = 500;

/**
 * Read the `event` field of a stream entry; null for what is no invocation that could be
 * answered. Answers go to the bridge's own reply streams and nowhere else.
 */
export function readInvocation(text: string | undefined): Invocation | null {
  let event: unknown;
  try {
    event = decode(text ?? "");
  } catch {
    return null;
  }
  if (!isRecord(event) || !isRecord(event["data"])) return null;
  const { id, subject, replyto, timeoutms } = event;
  const readable =
    typeof id === "string" &&
    typeof subject === "string" &&
    typeof replyto === "string" &&
    replyto.startsWith(REPLIES) &&
    typeof timeoutms === "number" &&
    timeoutms > 0;
  return readable ? (event as unknown as Invocation) : null;
}

/** Return the CloudEvents 1.0 event that carries an answer, as text. */
export function writeOutcome(
  of: Invocation,
  answer: Answer,
  source: string,
  time: Date,
  build = "",
): string {
  return JSON.stringify({
    specversion: "1.0",
    id: `${of.id}/outcome`,
    source,
    type: "bridge.outcome",
    subject: of.subject,
    time: time.toISOString(),
    datacontenttype: "application/json",
    data: { invocation: of.id, ...(build && { build }), ...answer },
  });
}

/** What was thrown, of a fault that came of that; for the log, not for the wire. */
export const causes = new WeakMap<Answer, unknown>();

function thrown(message: string, error: unknown): Answer {
  const answer = fault("crashed", message);
  causes.set(answer, error);
  return answer;
}

export function fault(kind: FaultKind, message: string): Answer {
  const text = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message;
  return { fault: { kind, message: text.toWellFormed() } };
}

/** Call the handler and turn what it answers into JSON, or into a fault; never throws. */
export function answer(contract: Contract, handle: Handler, { data }: Invocation): Answer {
  const where = `${data.subsystem}.${data.operation}`;
  if (data.digest !== contract.digest) return mismatch(contract, data.digest);
  // Not even started: what follows its first `await` would run outside the budget.
  if (handle.constructor.name === "AsyncFunction") return isAsync(where);
  try {
    return call(handle, data, where);
  } catch (error) {
    return failed(error, where);
  }
}

function call(handle: Handler, data: Invocation["data"], where: string): Answer {
  // Copies: a handler that changes what it was given changes nothing of ours.
  const [state, request] = [normalise(data.state), normalise(data.request)];
  const context = normalise(data.context) as unknown as Context;
  if (data.kind === "migration") return migrated(handle, state, request, context, where);
  return read(handle(state, data.operation, request, context), data.kind, where);
}

function migrated(
  handle: Handler,
  state: Json,
  request: Json,
  context: Context,
  where: string,
): Answer {
  const migrate = migrationOf(handle);
  if (!migrate) {
    const wanted = "`migrate(state, fromVersion, context)`, exported or by `migrating`";
    return fault("off_contract", `${where}: there is no ${wanted}`);
  }
  const made = migrate(state, (request as { from_version: number }).from_version, context);
  if (isThenable(made)) {
    made.then(undefined, () => {});
    return isAsync(where);
  }
  return { ok: { reply: null, state: normalise(made, "state") } };
}

function failed(error: unknown, where: string): Answer {
  try {
    if (error instanceof NotSerialisable) {
      return fault("not_serialisable", `${where}: ${error.message}`);
    }
    if (isRefusal(error)) return refuse(error, where);
    return thrown(`${where} threw ${describe(error)}${place(error)}`, error);
  } catch {
    return thrown(`${where} threw what cannot be shown`, error);
  }
}

function read(outcome: unknown, kind: string, where: string): Answer {
  if (isThenable(outcome)) {
    outcome.then(undefined, () => {}); // its failure is not the process's
    return isAsync(where);
  }
  if (!isRecord(outcome)) {
    const came = jsonType(outcome);
    return fault("off_contract", `${where}: expected {reply, effects, state}, got ${came}`);
  }
  const reply = normalise(outcome["reply"], "reply");
  const effects = normalise(outcome["effects"] ?? [], "effects");
  if (!Array.isArray(effects)) {
    const came = jsonType(effects);
    return fault("off_contract", `${where}: expected an array of effects, got ${came}`);
  }
  if (kind === "query") return { ok: effects.length > 0 ? { reply, effects } : { reply } };
  return { ok: { reply, effects, state: normalise(outcome["state"], "state") } };
}

function refuse({ reason, message, detail = {} }: Refused, where: string): Answer {
  try {
    const plain = normalise(detail, "detail") as { [key: string]: Json };
    // The message is for people: half a character in it must not lose the answer.
    return { refused: { reason, message: String(message).toWellFormed(), detail: plain } };
  } catch (error) {
    return fault("not_serialisable", `${where} refused: ${describe(error)}`);
  }
}

function mismatch(contract: Contract, asked: string): Answer {
  const text = `${contract.name}: built from contract ${contract.digest}, asked for ${asked}`;
  return fault("digest_mismatch", text);
}

function isAsync(where: string): Answer {
  return fault("off_contract", `${where}: handlers are functions, this one is async`);
}

/** Whatever was thrown: its text may be anybody's, and fail. */
export function describe(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  } catch {
    return "something that has no text";
  }
}

/** Name file and line an error comes from, if its stack tells; no folders, clients see it. */
function place(error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  const at = /^ *at .*?([^/\\(\s]+\.[cm]?[jt]s:\d+):\d+\)?$/m.exec(stack);
  return at ? ` (${at[1]})` : "";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return isRecord(value) && typeof value["then"] === "function";
}
