// phoenix.js's own serializer reads what the server writes, and writes what the server reads.
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { Serializer } from "phoenix"

const { binary, text } = JSON.parse(readFileSync(process.argv[2], "utf8"))
const hex = (buffer) => Buffer.from(buffer).toString("hex")
const buffer = (text) => new Uint8Array(Buffer.from(text, "hex")).buffer

for (const vector of binary) {
  if (vector.kind === "client_push") {
    const payload = buffer(vector.payload_hex)
    const { join_ref, ref, topic, event } = vector
    Serializer.encode({ join_ref, ref, topic, event, payload }, (out) =>
      assert.equal(hex(out), vector.hex, vector.name),
    )
    continue
  }
  Serializer.decode(buffer(vector.hex), (message) => {
    assert.equal(message.topic, vector.topic, vector.name)
    assert.equal(message.join_ref, vector.join_ref, vector.name)
    assert.equal(message.ref, vector.ref, vector.name)
    const payload = vector.kind === "reply" ? message.payload.response : message.payload
    assert.equal(hex(payload), vector.payload_hex, vector.name)
    if (vector.kind === "reply") assert.equal(message.payload.status, vector.status)
    else assert.equal(message.event, vector.event)
  })
}
for (const vector of text.filter(({ vsn }) => vsn === "2.0.0")) {
  Serializer.decode(vector.text, (message) => assert.deepEqual(message, vector.frame))
}
