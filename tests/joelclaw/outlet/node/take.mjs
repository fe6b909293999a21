// A user's own process with BRIDGE_OUTLET=serve: takes as many deliveries as it is told, and ends.
import { pathToFileURL } from "node:url"
const [sdk, redisUrl, count] = process.argv.slice(2)
const { deliver } = await import(pathToFileURL(sdk))

const taken = []
const deliverer = deliver(
  async ({ signal, ...delivery }) => {
    taken.push(delivery)
    if (taken.length === Number(count)) setImmediate(end)
  },
  { redisUrl, log: () => {} },
)
async function end() {
  await deliverer.close()
  process.stdout.write(JSON.stringify(taken))
}
