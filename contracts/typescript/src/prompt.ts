/** The text a language model is given of a delivery. No I/O here. */

import { byCodePoint } from "./derived.ts";
import { canonical, type Json } from "./json.ts";

const LAST_MS = 253_370_764_800_000; // 9999-01-01: Python knows no later ones

interface Event {
  type: string;
  source: string;
  payload: { [member: string]: Json };
  ts: number;
}

/**
 * Return the producers' own words, else the events as joelclaw's daemon lists them.
 *
 * `zone` is the IANA name of the zone in which times of day are told; left out, this machine's.
 */
export function promptOf(
  type: string,
  payload: { [member: string]: Json },
  zone?: string,
): string {
  const { prompt, by_type: byType, count, events } = payload;
  if (typeof prompt === "string") return prompt;
  if (typeof byType === "object" && byType !== null) {
    const counts = byType as { [type: string]: Json };
    const lines = Object.keys(counts)
      .sort(byCodePoint)
      .map((name) => `- ${name}: ${counts[name]}`);
    return [`Digest of ${count} ${count === 1 ? "event" : "events"}:`, ...lines].join("\n");
  }
  const listed = Array.isArray(events) ? (events as unknown as Event[]) : [];
  return listed.map((event) => line(event, zone)).join("\n") || type;
}

function line({ type, source, payload, ts }: Event, zone: string | undefined): string {
  const local = zone ? { timeZone: zone } : {};
  const at = ts > LAST_MS ? ts : new Date(ts).toLocaleTimeString("en-GB", local);
  const whole = Object.keys(payload).length > 0 ? `\n  ${canonical(payload)}` : "";
  return `- **[${at}] ${type}** (${source})${whole}`;
}
