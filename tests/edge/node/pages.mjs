// The pages of the node in a browser: live without a reload, at two widths.
import assert from "node:assert/strict"
import { Page } from "./browser.mjs"
import { connect, outcome, port, version } from "./world.mjs"

const [browser, folder] = [version, process.argv[4]]
const text = (selector) => `document.querySelector(${JSON.stringify(selector)})?.textContent ?? ""`
const live = `document.querySelector("[data-phx-main].phx-connected")`
const page = await Page.open(browser, `${folder}/profile`)

// The token once, in the address; then the session has it.
await page.resize(1280, 800)
await page.go(`http://127.0.0.1:${port}/?token=secret`)
await page.until(live)
await page.until(`${text("#subsystems")}.includes("counter")`)
await page.until(`${text("#workers")}.includes("one")`)
assert.equal(await page.value(`document.title`), "overview · bridge")
await page.picture(`${folder}/overview-1280.png`)

// From here on it is one document: a reload would lose this.
await page.value(`window.same = true`)
await page.value(`[...document.querySelectorAll("#subsystems a")].find((a) => a.textContent.trim() === "counter").click()`)
await page.until(`location.pathname === "/subsystems/counter" && document.querySelector("#events")`)
await page.until(live)

const socket = connect({ params: { token: "secret" } })
const channel = socket.channel("counter:browser", {})
assert.equal((await outcome(channel.join())).status, "ok")
await page.value(`(() => {
  const form = document.querySelector("form")
  form.querySelector("input").value = "browser"
  form.requestSubmit()
})()`)
await page.until(`location.search === "?key=browser"`)
for (const n of [1, 2, 39]) {
  assert.equal((await outcome(channel.push("add", { n }))).status, "ok")
}
await page.until(`document.querySelectorAll("#events tr").length === 3`)
assert.deepEqual(
  await page.value(`[...document.querySelectorAll("#events tr")].map((tr) => tr.cells[0].textContent)`),
  ["3", "2", "1"],
)
assert.match(await page.value(text("#events tr td:last-child code")), /"total":42/)
assert.ok(await page.value(`document.querySelector("#rates polyline").points.length === 60`))
assert.equal(await page.value(`window.same`), true)
await page.picture(`${folder}/subsystem-1280.png`)

// On a narrow screen nothing is wider than the screen; tables scroll by themselves.
const fits = `document.documentElement.scrollWidth <= window.innerWidth`
await page.resize(390, 844)
await page.until(fits)
await page.picture(`${folder}/subsystem-390.png`)
await page.go(`http://127.0.0.1:${port}/`)
await page.until(live)
await page.until(`${text("#subsystems")}.includes("counter")`)
assert.ok(await page.value(fits))
await page.picture(`${folder}/overview-390.png`)

await page.go(`http://127.0.0.1:${port}/dashboard/home`)
await page.until(`${text("body")}.includes("Phoenix LiveDashboard")`)
await page.until(live)
await page.call("Browser.close")
socket.disconnect(() => process.exit(0))
