/** Ids and randomness a handler derives from its message. No I/O here. */
import { createHash } from "node:crypto";
/** Return UUIDv8 number `name` of a message: SHA-256 of `message id/name` (RFC 9562, 5.8). */
export function derivedId(messageId, name) {
    const bytes = createHash("sha256").update(`${messageId}/${name}`).digest().subarray(0, 16);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = bytes.toString("hex");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
/** Return random integer number `n` of a seed, 0 to 2^53-1: the top 53 bits of SHA-256. */
export function derivedRandom(seed, n) {
    const hash = createHash("sha256").update(`${seed}/${n}`).digest();
    return Number(hash.readBigUInt64BE(0) >> 11n);
}
