// Join, push, events, errors, binary, leave, duplicate join: as an application would.
import assert from "node:assert/strict"
import { connect, outcome, phoenix } from "./world.mjs"

const socket = connect()
const channel = socket.channel("counter:a", {})
const events = []
channel.on("counter.added", (event) => events.push(event))
assert.deepEqual(await outcome(channel.join()), { status: "ok", response: { position: "0-0" } })

assert.deepEqual(await outcome(channel.push("add", { n: 2, message_id: "m" })), {
  status: "ok",
  response: { total: 2 },
})
assert.deepEqual((await outcome(channel.push("total", {}))).response, { total: 2 })

const refused = await outcome(channel.push("refuse", {}))
assert.equal(refused.status, "error")
assert.deepEqual(refused.response, {
  code: "refused",
  message: "not today",
  retryable: false,
  detail: { why: "because", code: "no" },
})

const bytes = new Uint8Array([0, 255, 16]).buffer
assert.deepEqual((await outcome(channel.push("upload", bytes))).response, { base64: "AP8Q" })
assert.equal((await outcome(channel.push("add", bytes))).response.code, "unsupported_binary")

const unknown = await outcome(socket.channel("nobody:a", {}).join())
assert.equal(unknown.response.code, "unknown_topic")

// A second channel of the same topic takes over; the first is closed.
let closed = 0
channel.onClose(() => closed++)
const second = socket.channel("counter:a", { since: "0-0" })
const replayed = []
second.on("counter.added", (event) => replayed.push(event))
await outcome(second.join())
assert.equal(closed, 1)
assert.deepEqual((await outcome(second.push("add", { n: 1 }))).response, { total: 3 })
while (replayed.length < 2) await outcome(second.push("total", {}))
assert.deepEqual(
  replayed.map((event) => [event.key, event.seq, event.n, event.payload.total]),
  [["a", 1, 0, 2], ["a", 2, 0, 3]],
)
assert.equal(replayed[0].id, "m/0")
assert.deepEqual(events[0], replayed[0])

assert.equal((await outcome(second.leave())).status, "ok")

// The serializer of version 1.0.0, as clients of Phoenix 1.2 have it.
const v1 = new phoenix.Socket(`ws://127.0.0.1:${process.argv[2]}/socket`, {
  transport: (await import("ws")).default,
  vsn: "1.0.0",
  encode: (message, callback) => callback(JSON.stringify(message)),
  decode: (text, callback) => callback(JSON.parse(text)),
})
v1.connect()
const old = v1.channel("counter:b", {})
assert.equal((await outcome(old.join())).status, "ok")
assert.deepEqual((await outcome(old.push("add", { n: 4 }))).response, { total: 4 })

socket.disconnect(() => v1.disconnect(() => process.exit(0)))
