import { operations, type Context } from "joelclaw-bridge";

interface State {
  minor: number;
  currency: string;
}

interface Subsystem {
  state: State;
  operations: {
    add: { request: { n: number; currency: string }; reply: State };
    later: { request: { n: number; at_ms: number }; reply: object };
    total: { request: object; reply: State };
  };
}

export const handle = operations<Subsystem>({
  add(state, { n }) {
    state.minor += 100 * n;
    const payload = { ...state };
    return { reply: state, effects: [{ effect: "emit", type: "ledger.added", payload }], state };
  },

  later(state, { n, at_ms }) {
    const operation = "add";
    return {
      reply: {},
      effects: [{ effect: "schedule", id: "later", operation, request: { n }, at_ms }],
      state,
    };
  },

  total: (state) => ({ reply: state }),
});

export function migrate(state: { total: number }, fromVersion: number, context: Context): State {
  if (state.total === 13) throw new Error("thirteen");
  return { minor: 100 * state.total, currency: "EUR" };
}
