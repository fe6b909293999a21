// The SDK's client: calls that survive whatever happens to the worker, events each once, in order.
import assert from "node:assert/strict"
import WebSocket from "ws"
import { CallError, client } from "../../../contracts/typescript/dist/client.js"
import { line, nextLine, port } from "./world.mjs"

const url = `http://127.0.0.1:${port}`
const options = { subsystem: "counter", transport: WebSocket }
const counter = client(url, options)
const code = (promise) => promise.then(() => "answered", (error) => (error instanceof CallError ? error.code : error.name))

// What the bridge says no to is an error with its code; a repeat of an id is the same call.
assert.deepEqual(await counter.call("b", "add", { n: 2 }, { messageId: "once" }), { total: 2 })
assert.deepEqual(await counter.call("b", "add", { n: 2 }, { messageId: "once" }), { total: 2 })
const off = await counter.call("b", "add", { n: "x" }).catch((error) => error)
assert.ok(off instanceof CallError)
assert.deepEqual([off.code, off.retryable, off.detail.pointer], ["invalid_request", false, "/n"])
assert.equal(await code(counter.call("b", "fail", { how: "refuse" })), "refused")
assert.equal(await code(client(url, { ...options, subsystem: "nobody" }).call("b", "add", {})), "unknown_topic")
assert.equal(await code(counter.events("b", { since: "0-1" }).next()), "gap")
assert.equal(await code(counter.call("b", "fail", { how: "loop" }, { timeoutMs: 1 })), "no_answer")
const ended = AbortSignal.abort()
assert.equal(await code(counter.call("b", "add", {}, { signal: ended })), "AbortError")

// Push without a pause, while whatever serves is killed; follow, and begin again now and then.
const totals = []
const calls = []
let stop = false
let since
async function follow() {
  for await (const event of counter.events("a", { since })) {
    totals.push(event.payload.total)
    since = event.position
    if (totals.length % 50 === 0 || (stop && event.payload.total === calls.length)) return
  }
}
const add = () => calls.push(counter.call("a", "add", { n: 1 }, { timeoutMs: 30_000 }))
const following = (async () => {
  while (!stop || totals.at(-1) !== calls.length) await follow()
})()
while (totals.length === 0) {
  add()
  await calls.at(-1)
}
line({ pushing: true })
nextLine().then(() => (stop = true))
while (!stop) {
  add()
  await new Promise((resolve) => setTimeout(resolve, 2))
}
const replies = await Promise.all(calls)
const all = calls.map((_, n) => n + 1)
assert.deepEqual(replies.map(({ total }) => total).sort((a, b) => a - b), all)
await following
assert.deepEqual(totals, all.slice(totals[0] - 1))

// A client that is closed fails what waits.
const waits = counter.events("b").next()
counter.close()
assert.equal(await code(waits), "closed")
assert.equal(await code(counter.call("b", "add", {})), "closed")
process.exit(0)
