// Presence of phoenix.js: two devices of one id, another id, and who leaves.
import assert from "node:assert/strict"
import { connect, outcome, phoenix, until } from "./world.mjs"

const topic = `room:${process.argv[3]}`
const devices = (presence) =>
  Object.fromEntries(presence.list((id, { metas }) => [id, metas.map((m) => m.device).sort()]))

async function joined(id, device) {
  const socket = connect()
  const channel = socket.channel(topic, { presence: { id, meta: { device } } })
  const presence = new phoenix.Presence(channel)
  const seen = []
  presence.onJoin((who, before) => seen.push(["join", who, Boolean(before)]))
  presence.onLeave((who, now) => seen.push(["leave", who, now.metas.length > 0]))
  assert.equal((await outcome(channel.join())).status, "ok")
  return { socket, channel, presence, seen, sees: (what) => until(() => same(presence, what)) }
}

const same = (presence, what) => JSON.stringify(devices(presence)) === JSON.stringify(what)

const phone = await joined("ann", "phone")
await phone.sees({ ann: ["phone"] })
const laptop = await joined("ann", "laptop")
await phone.sees({ ann: ["laptop", "phone"] })
await laptop.sees({ ann: ["laptop", "phone"] })
const bob = await joined("bob", "desk")
await phone.sees({ ann: ["laptop", "phone"], bob: ["desk"] })
laptop.socket.disconnect()
await phone.sees({ ann: ["phone"], bob: ["desk"] })
await outcome(bob.channel.leave())
await phone.sees({ ann: ["phone"] })
assert.deepEqual(phone.seen.slice(-4), [
  ["join", "ann", true],
  ["join", "bob", false],
  ["leave", "ann", true],
  ["leave", "bob", false],
])
bob.socket.disconnect()
phone.socket.disconnect(() => process.exit(0))
