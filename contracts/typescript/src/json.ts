/** JSON as all three languages share it: normalised values, RFC 8785 text. No I/O here. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export const MAX_DEPTH = 64;

// After JSON.parse has accepted a text, its strings and brackets tell its structure.
const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\]]/g;
const COLON = /[ \t\n\r]*:/y;

/** A value that is not JSON all three languages share. `pointer` is an RFC 6901 pointer. */
export class NotSerialisable extends Error {
  override readonly name = "NotSerialisable";
  readonly pointer: string;
  readonly expected: string;
  readonly actual: string;

  constructor(path: readonly string[], expected: string, actual: string) {
    const pointer = path.map((token) => `/${escapeToken(token)}`).join("");
    super(`${pointer || "(whole value)"}: expected ${expected}, got ${actual}`);
    this.pointer = pointer;
    this.expected = expected;
    this.actual = actual;
  }
}

/**
 * Copy a value as every runtime would read it: -0 becomes 0, and what is not JSON is refused.
 *
 * The rules are those of `normalise` in bridge/canonical.py. `name` begins the pointer of what is
 * refused, and is no level of nesting. Throws NotSerialisable.
 */
export function normalise(value: unknown, name?: string): Json {
  const path = name === undefined ? [] : [name];
  return copy(value, path, MAX_DEPTH + path.length);
}

/** Read JSON; refuse duplicate keys, too. Throws SyntaxError or NotSerialisable. */
export function parse(text: string): Json {
  return normalise(decode(text));
}

/** Read JSON as `parse` does, but leave it to the caller to normalise the parts it keeps. */
export function decode(text: string): unknown {
  const value: unknown = JSON.parse(text);
  checkKeys(text);
  return value;
}

/** Return the RFC 8785 text of a normalised value. */
export function canonical(value: Json): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  // RFC 8785, 3.2.3: by UTF-16 units, which is how sort() compares strings.
  const members = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key] as Json)}`);
  return `{${members.join(",")}}`;
}

/** Return the name JSON Schema has for a value's type. */
export function jsonType(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}

/** JSON.parse keeps the last of several members with one key. */
function checkKeys(text: string): void {
  const open: Array<Set<string> | null> = []; // the keys of an object, null for an array
  for (const { 0: token, index } of text.matchAll(TOKENS)) {
    if (token === "{" || token === "[") open.push(token === "{" ? new Set() : null);
    else if (token === "}" || token === "]") open.pop();
    else {
      COLON.lastIndex = index + token.length;
      if (!COLON.test(text)) continue;
      const key = token.includes("\\") ? (JSON.parse(token) as string) : token.slice(1, -1);
      const keys = open.at(-1);
      if (keys?.has(key)) throw new NotSerialisable([], "each key once", `${key} twice`);
      keys?.add(key);
    }
  }
}

function copy(value: unknown, path: string[], most: number): Json {
  switch (typeof value) {
    case "string":
      if (!value.isWellFormed())
        throw new NotSerialisable(path, "Unicode text", "a lone surrogate");
      return value;
    case "number":
      return copyNumber(value, path);
    case "boolean":
      return value;
    case "object":
      if (value === null) return null;
      if (path.length >= most) {
        throw new NotSerialisable([], `at most ${MAX_DEPTH} levels of nesting`, "more");
      }
      return Array.isArray(value)
        ? copyArray(value, path, most)
        : copyObject(value, path, most);
    default:
      throw new NotSerialisable(path, "a JSON value", typeof value);
  }
}

function copyNumber(value: number, path: string[]): number {
  if (!Number.isFinite(value)) throw new NotSerialisable(path, "a finite number", String(value));
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new NotSerialisable(path, "an integer within ±(2^53-1)", String(value));
  }
  return value === 0 ? 0 : value; // -0 === 0
}

function copyArray(value: unknown[], path: string[], most: number): Json[] {
  const out: Json[] = [];
  for (let n = 0; n < value.length; n++) {
    path.push(String(n));
    out.push(copy(value[n], path, most)); // a hole reads as undefined, and is refused
    path.pop();
  }
  return out;
}

function copyObject(
  value: object,
  path: string[],
  most: number,
): { [key: string]: Json } {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    const name = value.constructor?.name ?? "object of a class";
    throw new NotSerialisable(path, "a plain object", name);
  }
  const out: { [key: string]: Json } = {};
  for (const [key, member] of Object.entries(value)) {
    if (key === "__proto__") throw new NotSerialisable(path, "a key other than __proto__", key);
    if (!key.isWellFormed()) {
      throw new NotSerialisable(path, "Unicode text", "a key with a lone surrogate");
    }
    path.push(key);
    out[key] = copy(member, path, most);
    path.pop();
  }
  return out;
}

function escapeToken(token: string): string {
  return token.replaceAll("~", "~0").replaceAll("/", "~1");
}
