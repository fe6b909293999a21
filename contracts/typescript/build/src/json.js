/** JSON as all three languages share it: normalised values, RFC 8785 text. No I/O here. */
import { createHash } from "node:crypto";
export const MAX_DEPTH = 64;
/** A value that is not JSON all three languages share. `pointer` is an RFC 6901 pointer. */
export class NotSerialisable extends Error {
    name = "NotSerialisable";
    pointer;
    expected;
    actual;
    constructor(path, expected, actual) {
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
 * The rules are those of `normalise` in bridge/canonical.py. Throws NotSerialisable.
 */
export function normalise(value) {
    return copy(value, []);
}
/** Return the RFC 8785 text of a normalised value. */
export function canonical(value) {
    if (typeof value !== "object" || value === null)
        return JSON.stringify(value);
    if (Array.isArray(value))
        return `[${value.map(canonical).join(",")}]`;
    // RFC 8785, 3.2.3: by UTF-16 units, which is how sort() compares strings.
    const members = Object.keys(value)
        .sort()
        .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
    return `{${members.join(",")}}`;
}
/** Return the SHA-256 of a value's canonical bytes, as 64 hex digits. */
export function digest(value) {
    return createHash("sha256").update(canonical(value)).digest("hex");
}
/** Return the name JSON Schema has for a value's type. */
export function jsonType(value) {
    if (value === null)
        return "null";
    if (Array.isArray(value))
        return "array";
    if (typeof value === "number")
        return Number.isInteger(value) ? "integer" : "number";
    return typeof value;
}
function copy(value, path) {
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
            if (value === null)
                return null;
            if (path.length >= MAX_DEPTH) {
                throw new NotSerialisable([], `at most ${MAX_DEPTH} levels of nesting`, "more");
            }
            return Array.isArray(value) ? copyArray(value, path) : copyObject(value, path);
        default:
            throw new NotSerialisable(path, "a JSON value", typeof value);
    }
}
function copyNumber(value, path) {
    if (!Number.isFinite(value))
        throw new NotSerialisable(path, "a finite number", String(value));
    if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
        throw new NotSerialisable(path, "an integer within ±(2^53-1)", String(value));
    }
    return value === 0 ? 0 : value; // -0 === 0
}
function copyArray(value, path) {
    const out = [];
    for (let n = 0; n < value.length; n++) {
        path.push(String(n));
        out.push(copy(value[n], path)); // a hole reads as undefined, and is refused
        path.pop();
    }
    return out;
}
function copyObject(value, path) {
    const prototype = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) {
        const name = value.constructor?.name ?? "object of a class";
        throw new NotSerialisable(path, "a plain object", name);
    }
    const out = {};
    for (const [key, member] of Object.entries(value)) {
        if (key === "__proto__")
            throw new NotSerialisable(path, "a key other than __proto__", key);
        if (!key.isWellFormed()) {
            throw new NotSerialisable(path, "Unicode text", "a key with a lone surrogate");
        }
        path.push(key);
        out[key] = copy(member, path);
        path.pop();
    }
    return out;
}
function escapeToken(token) {
    return token.replaceAll("~", "~0").replaceAll("/", "~1");
}
