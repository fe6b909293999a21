// Push without a pause while the worker is replaced: none may fail, no event may be missing.
import { connect, line, nextLine, outcome, until } from "./world.mjs"

const socket = connect({ reconnectAfterMs: () => 10, rejoinAfterMs: () => 1000 })
let since
const channel = socket.channel("counter:a", () => (since === undefined ? {} : { since }))
const totals = []
channel.on("counter.added", (event) => {
  since = event.position
  totals.push(event.payload.total)
})
let joins = 0
channel.join().receive("ok", ({ position }) => {
  joins++
  since ??= position
  if (joins > 1) line({ joins })
})
await until(() => joins === 1)

const outcomes = []
let stop = false
nextLine().then(() => (stop = true))
while (!stop) {
  outcomes.push(outcome(channel.push("add", { n: 1, message_id: `m${outcomes.length}` })))
  if (outcomes.length === 10) line({ pushing: true })
  await new Promise((resolve) => setTimeout(resolve, Number(process.argv[4] ?? 2)))
}
const done = await Promise.all(outcomes)
const wrong = () => totals.findIndex((total, n) => total !== n + 1)
const gaveUp = Date.now() + 5000 // what is missing then is told by the counts
await until(() => totals.length >= done.length || Date.now() > gaveUp)
line({
  pushes: done.length,
  failed: done.filter((one) => one.status !== "ok"),
  joins,
  out_of_order: wrong() < 0 ? [] : totals.slice(Math.max(wrong() - 3, 0), wrong() + 9),
  events: totals.length,
})
socket.disconnect(() => process.exit(0))
