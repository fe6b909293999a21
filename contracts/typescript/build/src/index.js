/** The SDK: serve implementations of the bridge's contracts. */
export { compileContract } from "./compile.js";
export { derivedId, derivedRandom } from "./derived.js";
export { contracts, effects } from "./generated/contracts.js";
export { operations, Refusal, } from "./implementation.js";
export { serve, Service } from "./serve.js";
