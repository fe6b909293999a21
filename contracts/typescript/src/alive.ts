/** Tell whoever supervises this process that its thread still gets on: a line each second. */

import { writeFile } from "node:fs";
import { connect } from "node:net";

const EVERY_MS = 1000;

/** Write the file at `path` again and again: a health check looks at its age. */
export function touch(path: string): void {
  setInterval(() => writeFile(path, "", () => {}), EVERY_MS).unref();
}

/** Connect to the socket at `path`, and again whenever that is lost. */
export function sayAlive(path: string): void {
  const socket = connect(path, () => socket.write(`{"service":"typescript-${process.pid}"}\n`));
  const saying = setInterval(() => {
    if (!socket.connecting) socket.write('{"alive":true}\n');
  }, EVERY_MS);
  socket.resume().on("error", () => {}); // "close" follows
  socket.on("close", () => {
    clearInterval(saying);
    setTimeout(() => sayAlive(path), EVERY_MS).unref();
  });
  saying.unref();
  socket.unref();
}
