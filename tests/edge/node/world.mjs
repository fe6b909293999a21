// What the scenarios share: a socket of either version of phoenix.js, and awaitable replies.
import * as current from "phoenix"
import * as older from "phoenix-1.7"
import WebSocket from "ws"

export const [port, version] = process.argv.slice(2)
export const phoenix = version === "1.7" ? older : current

export function connect(options = {}) {
  const socket = new phoenix.Socket(`ws://127.0.0.1:${port}/socket`, {
    transport: WebSocket,
    ...options,
  })
  socket.connect()
  return socket
}

// Resolve with the outcome of a push or join: {status, response}.
export function outcome(push) {
  return new Promise((resolve) => {
    push
      .receive("ok", (response) => resolve({ status: "ok", response }))
      .receive("error", (response) => resolve({ status: "error", response }))
      .receive("timeout", () => resolve({ status: "timeout" }))
  })
}

export function line(value) {
  process.stdout.write(JSON.stringify(value) + "\n")
}

export function nextLine() {
  return new Promise((resolve) => process.stdin.once("data", () => resolve()))
}

// Whoever started this is gone: so is this, or it would push to whatever listens here next.
process.stdin.on("end", () => process.exit(1))

export function until(condition) {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (condition()) {
        clearInterval(timer)
        resolve()
      }
    }, 2)
  })
}
