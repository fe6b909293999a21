/** One invocation: what comes from the gateway, what is answered. No I/O here. */

import {
  hold,
  holdEffects,
  OffContract,
  operationOf,
  type Contract,
  type Operation,
} from "./contract.ts";
import { isRefusal, type Context, type Handler } from "./implementation.ts";
import { decode, normalise, NotSerialisable, type Json } from "./json.ts";

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
export function writeOutcome(of: Invocation, answer: Answer, source: string, time: Date): string {
  return JSON.stringify({
    specversion: "1.0",
    id: `${of.id}/outcome`,
    source,
    type: "bridge.outcome",
    subject: of.subject,
    time: time.toISOString(),
    datacontenttype: "application/json",
    data: { invocation: of.id, ...answer },
  });
}

export function fault(kind: FaultKind, message: string): Answer {
  const text = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message;
  return { fault: { kind, message: text.toWellFormed() } };
}

/** Call the handler and hold request and outcome to the contract; never throws. */
export function answer(contract: Contract, handle: Handler, { data }: Invocation): Answer {
  const where = `${data.subsystem}.${data.operation}`;
  try {
    if (data.digest !== contract.digest) return mismatch(contract, data.digest);
    const operation = operationOf(contract, data.operation);
    const request = normalise(data.request);
    hold(operation.request, request, `${where} request`);
    return call(contract, operation, handle, request, data, where);
  } catch (error) {
    if (error instanceof OffContract) return fault("off_contract", error.message);
    if (error instanceof NotSerialisable) {
      return fault("not_serialisable", `${where}: ${error.message}`);
    }
    return fault("crashed", `${where}: ${describe(error)}`);
  }
}

function call(
  contract: Contract,
  operation: Operation,
  handle: Handler,
  request: Json,
  data: Invocation["data"],
  where: string,
): Answer {
  // Not even started: what follows its first `await` would run outside the budget.
  if (handle.constructor.name === "AsyncFunction") return isAsync(where);
  // Copies: a handler that changes what it was given changes nothing of ours.
  const state = normalise(data.state);
  const context = normalise(data.context) as unknown as Context;
  let outcome: unknown;
  try {
    outcome = handle(state, data.operation, request, context);
  } catch (error) {
    if (isRefusal(error)) return refuse(operation, error, where);
    return fault("crashed", `${where} threw ${describe(error)}${place(error)}`);
  }
  if (isThenable(outcome)) {
    outcome.then(undefined, () => {}); // its failure is not the process's
    return isAsync(where);
  }
  if (!isRecord(outcome)) {
    return fault("off_contract", `${where}: expected {reply, effects, state}, got ${outcome}`);
  }
  const reply = named("reply", outcome["reply"]);
  hold(operation.reply, reply, `${where} reply`);
  if (operation.kind === "query") return { ok: { reply } };
  const effects = named("effects", outcome["effects"] ?? []);
  if (!Array.isArray(effects)) {
    return fault("off_contract", `${where}: expected an array of effects, got ${typeof effects}`);
  }
  holdEffects(contract, operation, effects);
  const next = named("state", outcome["state"]);
  hold(contract.state, next, `${where} state`);
  return { ok: { reply, effects, state: next } };
}

function refuse(
  operation: Operation,
  refusal: { reason: string; message: string; detail?: unknown },
  where: string,
): Answer {
  const { reason, message } = refusal;
  if (!operation.errors.has(reason)) {
    const declared = [...operation.errors].join(", ") || "none";
    const text = `${where}: expected a declared reason (${declared}), got ${reason}`;
    return fault("off_contract", text);
  }
  const detail = named("detail", refusal.detail ?? {}) as { [key: string]: Json };
  return { refused: { reason, message, detail } };
}

function mismatch(contract: Contract, asked: string): Answer {
  const text = `${contract.name}: built from contract ${contract.digest}, asked for ${asked}`;
  return fault("digest_mismatch", text);
}

function isAsync(where: string): Answer {
  return fault("off_contract", `${where}: handlers are functions, this one is async`);
}

/** Normalise a member of the outcome; its name begins the pointer of what is refused. */
function named(member: string, value: unknown): Json {
  return (normalise({ [member]: value }) as Record<string, Json>)[member] as Json;
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
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
