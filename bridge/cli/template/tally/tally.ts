/** Adds numbers up to ten. A handler is a function: no I/O, no clock; its context has the time. */

import { operations, Refusal } from "joelclaw-bridge";

interface Total {
  total: number;
}

interface Subsystem {
  state: Total;
  operations: {
    add: { request: { n: number }; reply: Total };
    total: { request: object; reply: Total };
  };
}

export const handle = operations<Subsystem>({
  add(state, { n }) {
    const total = state.total + n;
    if (total > 10) {
      throw new Refusal("full", "ten at most");
    }
    return {
      reply: { total },
      effects: [{ effect: "emit", type: "tally.added", payload: { n, total } }],
      state: { total },
    };
  },

  total: (state) => ({ reply: state }), // a query has neither effects nor a next state
});
