/** Leases of who is there; the key is the registry's name. No I/O here. */

import { byCodePoint } from "../derived.ts";
import type { Lease, Subsystem } from "../generated/sessions.ts";
import { operations, Refusal, type EffectOf } from "../implementation.ts";

/** A map: an id may be the name of something every object has. */
type Leases = Map<string, Lease>;
type Emit = EffectOf<Subsystem, "expire">;

/** joelclaw takes the number for a process of its machine, and deletes the lists of dead ones. */
const RESERVED = /^pid-[0-9]+$/;

export const handle = operations<Subsystem>({
  register(state, { id, kind, meta, ttl_ms }, { now_ms }) {
    if (RESERVED.test(id)) {
      throw new Refusal("reserved_id", `${id}: \`pid-\` and a number is joelclaw's own`);
    }
    const leases = leasesOf(state);
    const known = live(leases, id, now_ms);
    const expires_ms = now_ms + ttl_ms;
    const registered_ms = known?.registered_ms ?? now_ms;
    const lease = { id, kind, meta, ttl_ms, registered_ms, expires_ms };
    const effects: EffectOf<Subsystem, "register">[] = [timer(lease)];
    if (!known) {
      effects.unshift({ effect: "emit", type: "sessions.joined", payload: { id, kind, meta } });
      if (leases.has(id)) effects.unshift(left(id, "expired")); // and its timer is late
    }
    const reply = { status: known ? "renewed" : "joined", expires_ms } as const;
    return { reply, effects, state: stateOf(leases.set(id, lease)) };
  },

  renew(state, { id }, { now_ms }) {
    const leases = leasesOf(state);
    const lease = knownIn(leases, id, now_ms);
    lease.expires_ms = now_ms + lease.ttl_ms;
    const reply = { expires_ms: lease.expires_ms };
    return { reply, effects: [timer(lease)], state: stateOf(leases) };
  },

  leave(state, { id }, { now_ms }) {
    const leases = leasesOf(state);
    knownIn(leases, id, now_ms);
    leases.delete(id);
    const effects = [left(id, "left"), { effect: "cancel", id: `expire/${id}` } as const];
    return { reply: {}, effects, state: stateOf(leases) };
  },

  expire(state, { id }, { now_ms }) {
    const leases = leasesOf(state);
    if (!leases.has(id) || live(leases, id, now_ms)) {
      return { reply: { expired: false }, effects: [], state };
    }
    leases.delete(id);
    return { reply: { expired: true }, effects: [left(id, "expired")], state: stateOf(leases) };
  },

  list(state, { kind }, { now_ms }) {
    const sessions = [...leasesOf(state).values()]
      .filter((lease) => lease.expires_ms > now_ms && (kind ?? lease.kind) === lease.kind)
      .sort((a, b) => byCodePoint(a.id, b.id));
    return { reply: { sessions } };
  },
});

function leasesOf({ leases }: { leases: Record<string, Lease> }): Leases {
  return new Map(Object.entries(leases));
}

function stateOf(leases: Leases): { leases: Record<string, Lease> } {
  return { leases: Object.fromEntries(leases) };
}

/** Return a lease that has not expired; its time decides, not whether its timer has run. */
function live(leases: Leases, id: string, now_ms: number): Lease | undefined {
  const lease = leases.get(id);
  return lease && lease.expires_ms > now_ms ? lease : undefined;
}

function knownIn(leases: Leases, id: string, now_ms: number): Lease {
  const lease = live(leases, id, now_ms);
  if (lease) return lease;
  throw new Refusal("unknown_session", `${id} has no lease, or it has expired`);
}

function timer({ id, expires_ms }: Lease): EffectOf<Subsystem, "renew"> {
  const request = { id };
  return { effect: "schedule", id: `expire/${id}`, at_ms: expires_ms, operation: "expire", request };
}

function left(id: string, reason: "left" | "expired"): Emit {
  return { effect: "emit", type: "sessions.left", payload: { id, reason } };
}
