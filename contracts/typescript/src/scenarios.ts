/** Scenarios: what every implementation of a subsystem must answer. No I/O but their files. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { byCodePoint } from "./derived.ts";
import type { Context, Handler } from "./implementation.ts";
import { answer, type Answer } from "./invocation.ts";
import { canonical, parse, type Json } from "./json.ts";

type Members = { [member: string]: Json };
type Schema = { $ref?: string; properties?: Record<string, { default?: Json }> };

interface ContractFile {
  name: string;
  initial_state: Json;
  timeout_ms?: number;
  operations: Record<string, { kind: "command" | "query"; request: Schema }>;
  $defs?: Record<string, Schema>;
}

interface ScenarioFile {
  scenarios: Array<{
    name: string;
    key: string;
    given?: Json;
    given_version?: number;
    migrated?: Json;
    steps: Array<{
      operation: string;
      request: Members;
      now_ms: number;
      message_id?: string;
      expect: Members;
    }>;
  }>;
}

/** One message to a handler, with the state it meets. */
export interface Call {
  operation: string;
  kind: "command" | "query" | "migration";
  request: Json;
  state: Json;
  context: Context;
}

/** A call, and what must come of it: `{reply, effects, state}`, `{reply}` or `{refused, …}`. */
export interface Step extends Call {
  pointer: string;
  expect: Members;
}

/** Messages to one key, with nothing left to work out. */
export interface Scenario {
  name: string;
  steps: Step[];
}

const TIMEOUT_MS = 5000;

/** Read a subsystem's folder: subsystem.json and scenarios.json. contracts/README.md has the rules. */
export function readScenarios(folder: string): Scenario[] {
  const read = (name: string): unknown => parse(readFileSync(join(folder, name), "utf8"));
  return resolve(read("subsystem.json") as ContractFile, read("scenarios.json") as ScenarioFile);
}

function resolve(contract: ContractFile, { scenarios }: ScenarioFile): Scenario[] {
  return scenarios.map(({ name, key, given, given_version, migrated, steps }, n) => {
    const older = given_version !== undefined;
    const first = older ? migrated : given;
    let state = first === undefined ? contract.initial_state : first;
    const resolved = steps.map((step, m): Step => {
      const { kind, request } = contract.operations[step.operation] ?? {};
      if (!kind) throw new Error(`${name}: ${contract.name} has no operation ${step.operation}`);
      const context = contextFor(
        step.message_id ?? `${slug(name)}/${m}`,
        key,
        step.now_ms,
        contract.timeout_ms,
      );
      const expect = expected(step.expect, kind, state);
      const met = state;
      if (expect["state"] !== undefined) state = expect["state"];
      return {
        pointer: `/scenarios/${n}/steps/${m}`,
        operation: step.operation,
        kind,
        request: { ...defaults(contract, request as Schema), ...step.request },
        state: met,
        context,
        expect,
      };
    });
    if (older) resolved.unshift(migration(`/scenarios/${n}`, given!, given_version, resolved[0]!));
    return { name, steps: resolved };
  });
}

/** A state of an older version passes through `migrate` before the first step meets it. */
function migration(pointer: string, given: Json, from_version: number, first: Step): Step {
  const { state, context } = first;
  const call = { operation: "migrate", kind: "migration", request: { from_version } } as const;
  return { pointer, ...call, state: given, context, expect: { state } };
}

function expected(written: Members, kind: "command" | "query", state: Json): Members {
  if (kind === "query" || written["refused"] !== undefined) return written;
  const { patch, ...expect } = written;
  return { state: patch === undefined ? state : merge(state, patch), ...expect };
}

/** Return the context of a message: all that depends on its id, its key and the time. */
export function contextFor(
  message_id: string,
  key: string,
  now_ms: number,
  timeout_ms = TIMEOUT_MS,
): Context {
  const [date, rest] = new Date(now_ms).toISOString().split("T") as [string, string];
  return {
    message_id,
    key,
    now_ms,
    local: { date, time: rest.slice(0, 8), zone: "UTC" },
    seed: createHash("sha256").update(`${message_id}/seed`).digest("hex"),
    deadline_ms: now_ms + timeout_ms,
  };
}

/** Call a handler as the service does; what it answers as JSON, its refusal, or its fault. */
export function call(handle: Handler, call: Call): Answer {
  const contract = { name: "", digest: "" };
  const { key } = call.context;
  const data = { subsystem: "test", key, digest: "", ...call };
  return answer(contract, handle, { id: "", subject: key, replyto: "", timeoutms: 0, data });
}

/** Run every step; return the first difference, by its JSON pointers, or "". */
export function run({ steps }: Scenario, handle: Handler): string {
  for (const step of steps) {
    const found = differs(step.expect, call(handle, step));
    if (found) return `${step.pointer} (${step.operation}): ${found}`;
  }
  return "";
}

function differs({ refused, ...expect }: Members, told: Answer): string {
  if ("fault" in told) return `${told.fault.kind}: ${told.fault.message}`;
  if ("refused" in told) {
    const { reason, ...rest } = told.refused;
    if (refused !== reason) return `refused with ${reason}, expected ${refused ?? "an outcome"}`;
    const held = Object.entries(rest).filter(([member]) => expect[member] !== undefined);
    return difference(expect, Object.fromEntries(held) as Json);
  }
  if (refused !== undefined) return `expected the refusal ${refused}, got an outcome`;
  const parts = ["reply", "effects", "state"] as const;
  for (const part of parts.filter((part) => expect[part] !== undefined)) {
    const found = difference(expect[part] as Json, told.ok[part] as Json, `/${part}`);
    if (found) return found;
  }
  return expect["effects"] === undefined && told.ok.effects ? "a query has no effects" : "";
}

/** Name one place where two values differ, or return "". Canonical bytes decide. */
export function difference(expected: Json, actual: Json, pointer = ""): string {
  if (isObject(expected) && isObject(actual)) {
    const names = Object.keys({ ...expected, ...actual }).sort(byCodePoint);
    const has = (value: Members, name: string): boolean => Object.hasOwn(value, name);
    const both = names.filter((name) => has(expected, name) && has(actual, name));
    // What both have comes first: it says more than a member that came or went with it.
    for (const name of both) {
      const at = `${pointer}/${escape(name)}`;
      const found = difference(expected[name] as Json, actual[name] as Json, at);
      if (found) return found;
    }
    const odd = names.find((name) => !both.includes(name));
    if (odd === undefined) return "";
    return `${pointer}/${escape(odd)} ${has(expected, odd) ? "is missing" : "should not be there"}`;
  }
  if (Array.isArray(expected) && Array.isArray(actual)) {
    if (expected.length !== actual.length) {
      return `${pointer}: expected ${expected.length} items, got ${actual.length}`;
    }
    const pairs = expected.map((one, n) => difference(one, actual[n] as Json, `${pointer}/${n}`));
    return pairs.find((found) => found) ?? "";
  }
  const [wanted, came] = [canonical(expected), canonical(actual)];
  return wanted === came ? "" : `${pointer}: expected ${short(wanted)}, got ${short(came)}`;
}

/** Apply a JSON merge patch (RFC 7396). */
export function merge(target: Json, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const merged: Members = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else merged[name] = merge(Object.hasOwn(merged, name) ? (merged[name] as Json) : null, value);
  }
  return merged;
}

/** As the gateway fills them in. */
function defaults({ $defs = {} }: ContractFile, schema: Schema): Members {
  while (schema.$ref) schema = $defs[schema.$ref.replace("#/$defs/", "")] ?? {};
  const members = Object.entries(schema.properties ?? {}).flatMap(([name, property]) =>
    property.default === undefined ? [] : [[name, property.default] as const],
  );
  return Object.fromEntries(members);
}

function slug(name: string): string {
  return name
    .replace(/[A-Z]/g, (letter) => letter.toLowerCase())
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
}

function isObject(value: Json): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function short(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 79)}…`;
}

function escape(token: string): string {
  return token.replaceAll("~", "~0").replaceAll("/", "~1");
}
