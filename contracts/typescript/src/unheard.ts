/**
 * What a handler left behind and what fails later: promises, timers. Named, and not fatal.
 *
 * What other code of the process leaves behind ends it, as it would without us.
 */

import { AsyncLocalStorage } from "node:async_hooks";

type Tell = (reason: unknown) => void;

const scope = new AsyncLocalStorage<Tell | undefined>();
let listening = 0;

/** From here on, until `endScope`, what is begun is told of by `tell` if it fails unheard. */
export function beginScope(tell: Tell): void {
  // Not `run`: a handler that is ended at its budget runs no `finally`.
  scope.enterWith(tell);
}

export function endScope(): void {
  scope.enterWith(undefined);
}

/** Hear such failures until the returned function is called; `others` hears everybody else's. */
export function listen(others?: Tell): () => void {
  if (listening++ === 0) {
    process.on("unhandledRejection", rejected).on("uncaughtException", uncaught);
  }
  const hear = (reason: unknown): void => {
    if (!scope.getStore()) others?.(reason);
  };
  if (others) process.on("unhandledRejection", hear).on("uncaughtException", hear);
  let ended = false;
  return () => {
    if (ended) return;
    ended = true;
    process.off("unhandledRejection", hear).off("uncaughtException", hear);
    if (--listening > 0) return;
    process.off("unhandledRejection", rejected).off("uncaughtException", uncaught);
  };
}

// Where ours is the only listener, the failure would have ended the process without it.

function rejected(reason: unknown): void {
  const tell = scope.getStore();
  if (tell) tell(reason);
  else if (process.listenerCount("unhandledRejection") === 1) throw reason;
}

function uncaught(error: unknown): void {
  const tell = scope.getStore();
  if (tell) return tell(error);
  if (process.listenerCount("uncaughtException") > 1) return;
  process.off("uncaughtException", uncaught);
  setImmediate(() => {
    throw error;
  });
}
