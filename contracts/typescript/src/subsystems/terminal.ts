/** Relays a terminal's prompts to a session; the key is the terminal's name. No I/O here. */

import { trim } from "../derived.ts";
import type { State, Subsystem } from "../generated/terminal.ts";
import { operations, Refusal, type Context, type EffectOf } from "../implementation.ts";

const RESERVED = ["gateway", "main"];
const RESERVED_PREFIX = "pid-";

export const handle = operations<Subsystem>({
  configure(_state, { session }) {
    if (session !== null && (RESERVED.includes(session) || session.startsWith(RESERVED_PREFIX))) {
      throw new Refusal("reserved_session", `${session}: its list is others' to read`);
    }
    return { reply: { session }, effects: [], state: { session, streaming: false, waiting: 0 } };
  },

  prompt(state, { text }, context) {
    const session = sessionOf(state, context);
    const prompt = trim(text);
    if (prompt === "") throw new Refusal("empty_prompt", "a prompt needs text");
    const payload = { prompt, originSession: `terminal:${context.key}` };
    return {
      reply: { status: "sent", session },
      effects: [{ effect: "system_event", session, type: "terminal.prompt", payload }],
      state: { ...state, waiting: state.waiting + 1 },
    };
  },

  abort(state, _request, context) {
    sessionOf(state, context);
    return {
      reply: { status: "asked" },
      effects: [{ effect: "emit", type: "terminal.abort", payload: {} }],
      state,
    };
  },

  say(state, { frame: { type, ...payload } }) {
    const ended = type === "turn_end";
    return {
      reply: {},
      effects: [{ effect: "emit", type: `terminal.${type}`, payload } as EffectOf<Subsystem, "say">],
      state: {
        ...state,
        // An error may come at any time; all else is said within a turn.
        streaming: type === "error" ? state.streaming : !ended,
        waiting: ended ? Math.max(state.waiting - 1, 0) : state.waiting,
      },
    };
  },

  status({ session, streaming, waiting }) {
    return { reply: { sessionId: session ?? "", isStreaming: streaming, queueDepth: waiting } };
  },
});

function sessionOf({ session }: State, { key }: Context): string {
  if (session === null) {
    const how = `push \`configure\` with a session to topic terminal:${key}`;
    throw new Refusal("no_session", `prompts have nowhere to go: ${how}`);
  }
  return session;
}
