/**
 * Decides what becomes of each event of a session: a prompt, a part of a digest, or nothing.
 *
 * No I/O here.
 */

import type { Decision, Prompt, Rule, State, Subsystem, SystemEvent } from "../generated/triage.ts";
import { operations, Refusal, type EffectOf } from "../implementation.ts";

const WINDOW_MS = 1_800_000;
const MAX_SEEN = 1000;
const FLUSH_AFTER_MS = 3_600_000;
const MAX_MEMBERS = 100;
const MAX_SIZE = 131_072;
const MAX_LEVELS = 32;

type Received = EffectOf<Subsystem, "receive">;
type Flushed = EffectOf<Subsystem, "flush">;

interface Change<Effect = Received> {
  effects: Effect[];
  state: State;
}

export const handle = operations<Subsystem>({
  receive(state, { event }, { now_ms }) {
    const seen = withinWindow(state.seen, now_ms);
    if (seen.ids.includes(event.id)) {
      return { reply: { decision: "duplicate", rule: "seen" }, effects: [], state };
    }
    const [decision, rule] = decide(state, event);
    const { effects, state: after } = carryOut(decision, state, event, now_ms);
    const remembered = withId(seen, event.id, now_ms);
    return { reply: { decision, rule }, effects, state: { ...after, seen: remembered } };
  },

  configure(state, { suppressed, batched }) {
    const rules = { suppressed, batched };
    return { reply: rules, effects: [], state: { ...state, rules } };
  },

  sleep(state) {
    return { reply: { mode: "asleep" }, effects: [], state: { ...state, mode: "asleep" } };
  },

  wake(state) {
    const count = state.batch.members.length;
    return { reply: { mode: "awake", count }, ...woken(state) };
  },

  flush(state) {
    return { reply: { count: state.batch.members.length }, ...flushed(state) };
  },

  pending({ mode, batch: { members, size, since_ms } }) {
    return { reply: { mode, count: members.length, size, by_type: byType(members), since_ms } };
  },
});

/** Return the decision and the rule it follows from: the first that matches. */
function decide({ mode, rules }: State, { type, payload }: SystemEvent): [Decision, Rule] {
  if (type === "gateway/sleep") return ["sleep", "mode"];
  if (type === "gateway/wake") return ["wake", "mode"];
  if (mode === "asleep") return [decideAsleep(type), "asleep"];
  if (isUrgent(payload)) return ["immediate", "urgent"];
  if (rules.suppressed.includes(type)) return ["suppressed", "suppressed"];
  if (rules.batched.includes(type)) return ["batched", "batched"];
  return ["immediate", "otherwise"];
}

function decideAsleep(type: string): Decision {
  if (type === "cron.heartbeat") return "suppressed";
  return type === "telegram.message.received" ? "immediate" : "batched";
}

function isUrgent({ level, priority, immediateTelegram }: SystemEvent["payload"]): boolean {
  const high = priority === "high" || priority === "urgent";
  return level === "fatal" || high || immediateTelegram === true;
}

function carryOut(decision: Decision, state: State, event: SystemEvent, now_ms: number): Change {
  switch (decision) {
    case "sleep":
      return { effects: [], state: { ...state, mode: "asleep" } };
    case "wake":
      return woken(state);
    case "batched":
      return added(state, event, now_ms);
    case "immediate": // asleep, only what wakes
      return { effects: [prompt(event)], state: { ...state, mode: "awake" } };
    default:
      return { effects: [], state };
  }
}

function prompt(event: SystemEvent): Flushed {
  const { id, payload } = storable(event);
  const emitted: Prompt = { event_ids: [id], events: [event] };
  const text = textOf(payload["prompt"]);
  if (text) emitted.prompt = text;
  const origin = textOf(payload["originSession"]);
  if (origin) emitted.origin_session = origin;
  const type = escalates(event) ? "triage.escalation" : "triage.prompt";
  return { effect: "emit", type, payload: { ...emitted } };
}

function escalates({ type, payload }: SystemEvent): boolean {
  return type === "system.fatal" || isUrgent(payload);
}

function storable(event: SystemEvent): SystemEvent {
  if (levels(event) > MAX_LEVELS) {
    throw new Refusal("too_deep", `the event nests more than ${MAX_LEVELS} levels`);
  }
  return event;
}

/** Add the event to the batch; flush a batch that is full, set the timer of a new one. */
function added(state: State, event: SystemEvent, now_ms: number): Change {
  const members = [...state.batch.members, storable(event)];
  const size = state.batch.size + sizeOf(event);
  const first = members.length === 1;
  const since_ms = first ? now_ms : state.batch.since_ms;
  const after = { ...state, batch: { since_ms, size, members } };
  if (members.length >= MAX_MEMBERS || size >= MAX_SIZE) return flushed(after);
  return { effects: first ? [flushAt(now_ms + FLUSH_AFTER_MS)] : [], state: after };
}

function woken(state: State): Change<Flushed> {
  const { effects, state: after } = flushed(state);
  return { effects, state: { ...after, mode: "awake" } };
}

/** Return the digest and the cancelled timer, and the state with an empty batch. */
function flushed(state: State): Change<Flushed> {
  const { members } = state.batch;
  if (members.length === 0) return { effects: [], state };
  const digest = { count: members.length, by_type: byType(members), members };
  const effects: Flushed[] = [
    { effect: "emit", type: "triage.digest", payload: digest },
    { effect: "cancel", id: "flush" },
  ];
  return { effects, state: { ...state, batch: { since_ms: null, size: 0, members: [] } } };
}

/** Leave out the oldest ids that are older than the window; a key's time never goes back. */
function withinWindow({ ids, at_ms }: State["seen"], now_ms: number): State["seen"] {
  const first = at_ms.findIndex((at) => now_ms - at <= WINDOW_MS);
  const old = first < 0 ? at_ms.length : first;
  return { ids: ids.slice(old), at_ms: at_ms.slice(old) };
}

function withId({ ids, at_ms }: State["seen"], id: string, now_ms: number): State["seen"] {
  return { ids: [...ids, id].slice(-MAX_SEEN), at_ms: [...at_ms, now_ms].slice(-MAX_SEEN) };
}

/** A map: a type may be the name of something every object has. */
function byType(members: readonly SystemEvent[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { type } of members) counts.set(type, (counts.get(type) ?? 0) + 1);
  return Object.fromEntries(counts);
}

/** Return a member as it is if it is a text that is not blank in ASCII, else an empty text. */
function textOf(value: unknown): string {
  return typeof value === "string" && /[^\t-\r ]/.test(value) ? value : "";
}

function levels(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return 1 + Object.values(value).reduce((most, below) => Math.max(most, levels(below)), 0);
}

/** Count 8 for every value, and the UTF-8 bytes of texts and members' names besides. */
function sizeOf(value: unknown): number {
  if (typeof value === "string") return 8 + Buffer.byteLength(value);
  if (typeof value !== "object" || value === null) return 8;
  if (Array.isArray(value)) return value.reduce((sum, item) => sum + sizeOf(item), 8);
  const members = Object.entries(value);
  return members.reduce((sum, [name, v]) => sum + Buffer.byteLength(name) + sizeOf(v), 8);
}

function flushAt(at_ms: number): Received {
  return { effect: "schedule", id: "flush", at_ms, operation: "flush", request: {} };
}
