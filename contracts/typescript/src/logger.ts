/** Where lines for people go: by level, to whatever logger a program has. */

import { inspect } from "node:util";

/** `console` is one, and so are pino's and winston's loggers. */
export interface Logger {
  debug(text: string): void;
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
}

const MAX_ERROR = 10_000;

/** Lines on standard error, but for those of `debug`; each begins with `prefix`. */
export function toStderr(prefix = ""): Logger {
  const line = (text: string): void => console.error(`${prefix}${text}`);
  return { debug: () => {}, info: line, warn: line, error: line };
}

/** Return an error with its stack, its cause and theirs; whatever was thrown. */
export function whole(error: unknown): string {
  try {
    return inspect(error, { depth: 5, maxStringLength: MAX_ERROR }).slice(0, MAX_ERROR);
  } catch (failure) {
    return `(it cannot be shown: ${failure instanceof Error ? failure.name : typeof failure})`;
  }
}
