// A page in a headless Chromium, by the DevTools protocol: what the tests need of it, and no more.
import { spawn } from "node:child_process"
import { writeFile } from "node:fs/promises"
import WebSocket from "ws"

export class Page {
  #next = 1
  #waiting = new Map()

  // Start a browser that keeps its profile in a folder, and open one page.
  static async open(binary, profile) {
    const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    const browser = spawn(
      binary,
      [...flags, "--remote-debugging-port=0", `--user-data-dir=${profile}`, "about:blank"],
      { stdio: ["ignore", "ignore", "pipe"] },
    )
    process.on("exit", () => browser.kill("SIGKILL"))
    const port = await new Promise((resolve, reject) => {
      let said = ""
      browser.once("exit", (code) => reject(new Error(`the browser ended with ${code}: ${said}`)))
      browser.stderr.on("data", (text) => {
        said += text
        const found = /ws:\/\/127\.0\.0\.1:(\d+)\//.exec(said)
        if (found) resolve(found[1])
      })
    })
    const pages = await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()
    const page = new Page()
    page.socket = new WebSocket(pages.find(({ type }) => type === "page").webSocketDebuggerUrl)
    page.socket.on("message", (text) => page.#take(JSON.parse(text)))
    await new Promise((resolve) => page.socket.once("open", resolve))
    await page.call("Page.enable")
    return page
  }

  call(method, params = {}) {
    const id = this.#next++
    this.socket.send(JSON.stringify({ id, method, params }))
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
  }

  #take({ id, result, error }) {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error) waiting?.reject(new Error(error.message))
    else waiting?.resolve(result)
  }

  // Return the value of an expression in the page.
  async value(expression) {
    const options = { expression, returnByValue: true, awaitPromise: true }
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", options)
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description)
    return result.value
  }

  // Wait until an expression in the page is true.
  async until(expression) {
    while (!(await this.value(`Boolean(${expression})`).catch(() => false))) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  go(url) {
    return this.call("Page.navigate", { url })
  }

  resize(width, height) {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: width < 600 }
    return this.call("Emulation.setDeviceMetricsOverride", metrics)
  }

  async picture(file) {
    const { data } = await this.call("Page.captureScreenshot", { format: "png" })
    await writeFile(file, Buffer.from(data, "base64"))
  }
}
