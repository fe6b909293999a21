/** Asks for the system's periodic checks; the key is the schedule's name. No I/O here. */

import type { State, Subsystem } from "../generated/heartbeat.ts";
import { operations, type Context, type EffectOf } from "../implementation.ts";

type Ticked = EffectOf<Subsystem, "tick">;
type Schedule = Extract<Ticked, { effect: "schedule" }>;

const EARLY = [
  "tasks/triage.requested",
  "sessions/prune.requested",
  "triggers/audit.requested",
  "system/health.requested",
  "memory/review.check",
  "vault/sync.check",
  "granola/check.requested",
  "email/triage.requested",
  "calendar/daily.check",
  "loops/stale.check",
];
const HEAD = [
  ...EARLY.filter((name) => name !== "granola/check.requested"),
  "gateway/health.check.requested",
];
const HEAD_DATA: Record<string, Record<string, string>> = {
  "system/health.requested": { mode: "core", source: "heartbeat-15m" },
};

export const handle = operations<Subsystem>({
  configure({ last_ms, runs, skipped }, { every_ms, min_gap_ms, profile }, { now_ms }) {
    return {
      reply: { every_ms, min_gap_ms, profile },
      effects: every_ms > 0 ? nextTick(every_ms, now_ms) : [{ effect: "cancel", id: "tick" }],
      state: { every_ms, min_gap_ms, profile, last_ms, runs, skipped },
    };
  },

  tick(state, _request, context) {
    const { now_ms } = context;
    const schedule = nextTick(state.every_ms, now_ms);
    if (state.last_ms !== null && now_ms - state.last_ms < state.min_gap_ms) {
      const next_ms = state.last_ms + state.min_gap_ms;
      return {
        reply: { status: "skipped", reason: "too_soon", next_ms },
        effects: schedule,
        state: { ...state, skipped: state.skipped + 1 },
      };
    }
    return {
      reply: { status: "ran", events: 10 },
      effects: [...checks(state.profile, context), ...schedule],
      state: { ...state, last_ms: now_ms, runs: state.runs + 1 },
    };
  },

  status({ last_ms, min_gap_ms, runs, skipped }) {
    const next_ms = last_ms === null ? null : last_ms + min_gap_ms;
    return { reply: { last_ms, next_ms, runs, skipped } };
  },
});

/** A timer fires once, so each tick sets the next; every_ms 0 is ticked from outside. */
function nextTick(every_ms: number, now_ms: number): Schedule[] {
  if (every_ms === 0) return [];
  const at_ms = now_ms + every_ms;
  return [{ effect: "schedule", id: "tick", at_ms, operation: "tick", request: {} }];
}

function checks(profile: State["profile"], { message_id }: Context): Ticked[] {
  const head = profile === "head";
  return (head ? HEAD : EARLY).map((name) => ({
    effect: "inngest",
    name,
    data: (head && HEAD_DATA[name]) || {},
    id: `heartbeat/${message_id}/${name}`,
  }));
}
