/** What a contract does not declare does not compile. */

import { operations, Refusal, type ReasonOf } from "joelclaw-bridge";
import type { Client } from "joelclaw-bridge/client";

interface Tally {
  state: { total: number };
  operations: {
    add: {
      request: { n: number };
      reply: { total: number };
      kind: "command";
      effects: "emit" | "schedule";
      errors: "full";
      defaults: "n";
    };
    total: {
      request: {};
      reply: { total: number };
      kind: "query";
      effects: never;
      errors: never;
    };
  };
  events: { "tally.added": { n: number } };
}

const state = { total: 1 };
const reply = state;
const total = () => ({ reply });

export const fine = operations<Tally>({
  add: () => ({
    reply,
    state,
    effects: [
      { effect: "emit", type: "tally.added", payload: { n: 1 } },
      { effect: "schedule", id: "t", at_ms: 1, operation: "add", request: { n: 1 } },
    ],
  }),
  total,
});

export const undeclared = [
  operations<Tally>({
    // @ts-expect-error: no such event
    add: () => ({ reply, state, effects: [{ effect: "emit", type: "tally.gone", payload: {} }] }),
    total,
  }),
  operations<Tally>({
    // @ts-expect-error: the event's payload
    add: () => ({ reply, state, effects: [{ effect: "emit", type: "tally.added", payload: {} }] }),
    total,
  }),
  operations<Tally>({
    // @ts-expect-error: an effect it does not declare
    add: () => ({ reply, state, effects: [{ effect: "cancel", id: "t" }] }),
    total,
  }),
  operations<Tally>({
    add: () => ({
      reply,
      state,
      // @ts-expect-error: no such operation
      effects: [{ effect: "schedule", id: "t", at_ms: 1, operation: "subtract", request: {} }],
    }),
    total,
  }),
  // @ts-expect-error: a command without a state
  operations<Tally>({ add: () => ({ reply }), total }),
  // @ts-expect-error: a query with effects
  operations<Tally>({ add: () => ({ reply, state }), total: () => ({ reply, effects: [{ effect: "cancel", id: "t" }] }) }),
  // @ts-expect-error: an operation that is not implemented
  operations<Tally>({ total }),
  // @ts-expect-error: an operation the contract does not have
  operations<Tally>({ add: () => ({ reply, state }), total, more: total }),
  new Refusal<ReasonOf<Tally, "add">>("full"),
  // @ts-expect-error: a reason it does not declare
  new Refusal<ReasonOf<Tally, "add">>("empty"),
];

export async function calls(tally: Client<Tally>): Promise<number> {
  // @ts-expect-error: no such operation
  await tally.call("k", "subtract", {});
  // @ts-expect-error: a member of another type
  await tally.call("k", "add", { n: "1" });
  for await (const event of tally.events("k")) {
    // @ts-expect-error: no such member of the event's payload
    return event.payload.m;
  }
  return (await tally.call("k", "add", {})).total; // `n` has a default
}
