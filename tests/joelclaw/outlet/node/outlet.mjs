// An agent on the outlet's topic: takes what comes, one at a time, and acknowledges it.
import assert from "node:assert/strict"
import { connect, line, outcome, until } from "../../../edge/node/world.mjs"

const socket = connect()
const channel = socket.channel("outlet:gateway", {})
const taken = []
let refused
channel.on("triage.prompt", async (event) => {
  taken.push(event)
  if (!refused) refused = await outcome(channel.push("ack", { id: "nothing/0" }))
  assert.deepEqual(await outcome(channel.push("ack", { id: event.id })), {
    status: "ok",
    response: {},
  })
})
assert.equal((await outcome(channel.join())).status, "ok")
const other = await outcome(socket.channel("outlet:other", {}).join())
assert.equal(other.response.code, "unknown_topic")
await until(() => taken.length === 3)
// The last one's acknowledgement is answered before this.
const off = await outcome(channel.push("ack", { id: 7 }))
assert.deepEqual([off.response.code, off.response.detail.pointer], ["invalid_request", "/id"])
const unknown = await outcome(channel.push("triage", {}))
assert.equal(unknown.response.code, "unknown_operation")
const again = await outcome(channel.push("ack", { id: taken[0].id }))
assert.deepEqual(again, { status: "ok", response: {} })
line({ taken, refused })
socket.disconnect(() => process.exit(0))
