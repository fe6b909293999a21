/** Adds numbers up, and misbehaves on demand. For tests. */

import {
  operations,
  Refusal,
  type Effect,
  type Outcome,
} from "../../../contracts/typescript/src/implementation.ts";

interface State {
  total: number;
  log: string[];
  pad: string;
}

type Total = { total: number };
type How = "refuse" | "crash" | "loop" | "bad_reply" | "bad_effect" | "bad_state";

interface Subsystem {
  state: State;
  operations: {
    add: { request: { n: number; tag: string }; reply: Total };
    put: { request: { pad: string }; reply: { bytes: number } };
    once: { request: { token: string; n: number }; reply: Total };
    fail: { request: { how: How }; reply: unknown };
    later: { request: { after_ms: number; n: number }; reply: { at_ms: number } };
    forget: { request: object; reply: object };
    add_later: { request: { n: number }; reply: Total };
    notify: { request: { count: number; unordered: boolean }; reply: { count: number } };
    total: { request: object; reply: { total: number; log_length: number } };
    upload: { request: { base64: string }; reply: { bytes: number } };
  };
}

const MAX_LOG = 100;

export const handle = operations<Subsystem>({
  add(state, { n, tag }) {
    const log = tag === "" ? state.log : [...state.log, tag].slice(-MAX_LOG);
    return added({ ...state, log }, n, tag);
  },

  put(state, { pad }) {
    // By code point: the languages count units differently.
    return { reply: { bytes: [...pad].length }, effects: [], state: { ...state, pad } };
  },

  once: (state, { n }) => added(state, n, ""),

  fail: (state, { how }) => misbehave(state, how),

  later(state, { after_ms, n }, { now_ms }) {
    const at_ms = now_ms + after_ms;
    const timer: Effect = {
      effect: "schedule",
      id: "later",
      at_ms,
      operation: "add_later",
      request: { n },
    };
    return { reply: { at_ms }, effects: [timer], state };
  },

  forget: (state) => ({ reply: {}, effects: [{ effect: "cancel", id: "later" }], state }),

  add_later: (state, { n }) => added(state, n, "later"),

  notify(state, { count, unordered }, { message_id }) {
    const effects = Array.from({ length: count }, (_, i): Effect => {
      const effect: Effect = {
        effect: "inngest",
        name: "counter/notified",
        data: { i },
        id: `${message_id}/${i}`,
      };
      return unordered ? { ...effect, unordered } : effect;
    });
    return { reply: { count }, effects, state };
  },

  total: ({ total, log }) => ({ reply: { total, log_length: log.length } }),

  upload(state, { base64 }) {
    return { reply: { bytes: Buffer.from(base64, "base64").length }, effects: [], state };
  },
});

function added(state: State, n: number, tag: string): Outcome<Total, State> {
  const total = state.total + n;
  const event: Effect = { effect: "emit", type: "counter.added", payload: { n, total, tag } };
  return { reply: { total }, effects: [event], state: { ...state, total } };
}

function misbehave(state: State, how: How): Outcome<unknown, State> {
  switch (how) {
    case "refuse":
      throw new Refusal("no", "told to refuse", { how: "refuse" });
    case "crash":
      throw new Error("crashed on demand");
    case "loop":
      for (;;);
    case "bad_reply":
      return { reply: "not an object", effects: [], state };
    case "bad_effect": {
      const undeclared: Effect = { effect: "emit", type: "counter.undeclared", payload: {} };
      return { reply: {}, effects: [undeclared], state };
    }
    case "bad_state":
      return { reply: {}, effects: [], state: { ...state, total: "many" as unknown as number } };
  }
}
