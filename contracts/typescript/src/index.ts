/** The SDK: serve implementations of the bridge's contracts. */

export { compileContract } from "./compile.ts";
export type { Contract, ContractFile } from "./contract.ts";
export {
  deliver,
  Deliverer,
  type DeliverOptions,
  type Delivery,
  type Receiver,
} from "./deliver.ts";
export {
  byCodePoint,
  cut,
  derivedId,
  derivedRandom,
  divide,
  lengthOf,
  remainder,
  trim,
} from "./derived.ts";
export {
  readEnvelope,
  type Doorbell,
  type Envelopes,
  type InngestEvent,
  type InngestEvents,
  type NotifyMessage,
  type OutboundMessage,
  type QueueEnvelope,
  type SystemEvent,
  type TerminalFrame,
  type TerminalRequest,
} from "./envelopes.ts";
export { contracts, effects } from "./generated/contracts.ts";
export {
  operations,
  Refusal,
  type Context,
  type Effect,
  type Handler,
  type Outcome,
  type Shape,
} from "./implementation.ts";
export type { Json } from "./json.ts";
export { serve, Service, type ServeOptions } from "./serve.ts";
