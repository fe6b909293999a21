/** What handlers compute alike in all three languages; JavaScript's own ways differ. */

import { createHash } from "node:crypto";

/** Return UUIDv8 number `name` of a message: SHA-256 of `message id/name` (RFC 9562, 5.8). */
export function derivedId(messageId: string, name: string | number): string {
  const bytes = createHash("sha256").update(`${messageId}/${name}`).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Return random integer number `n` of a seed, 0 to 2^53-1: the top 53 bits of SHA-256. */
export function derivedRandom(seed: string, n: number): number {
  const hash = createHash("sha256").update(`${seed}/${n}`).digest();
  return Number(hash.readBigUInt64BE(0) >> 11n);
}

/** Return the first `length` code points of a text. */
export function cut(text: string, length: number): string {
  return [...text].slice(0, length).join("");
}

/** Return the number of code points of a text. */
export function lengthOf(text: string): number {
  return [...text].length;
}

/**
 * Take away ASCII white space at both ends; `trim()` takes more.
 *
 * Not by a regular expression: those take quadratic time for white space within.
 */
export function trim(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isWhiteSpace(text.charCodeAt(start))) start += 1;
  while (start < end && isWhiteSpace(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

function isWhiteSpace(code: number): boolean {
  return code === 32 || (code >= 9 && code <= 13);
}

/** Compare by code point, for `sort`: by itself it compares UTF-16 units. */
export function byCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** Divide integers exactly, towards zero. */
export function divide(dividend: number, divisor: number): number {
  return (dividend - (dividend % divisor)) / divisor + 0; // -0 + 0 is 0
}

/** Return what `divide` leaves; it has the dividend's sign. */
export function remainder(dividend: number, divisor: number): number {
  return (dividend % divisor) + 0;
}
