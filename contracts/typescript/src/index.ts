/** The SDK: serve implementations of the bridge's contracts. */

export {
  activities,
  activity,
  NotRetryable,
  type ActivitiesOf,
  type Activity,
  type ActivityCall,
  type ActivityFunction,
} from "./activity.ts";
export { contractOf, type Contract } from "./contract.ts";
export {
  deliver,
  Deliverer,
  type DelivererEvents,
  type DeliverOptions,
  type Delivery,
  type Digest,
  type Prompt,
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
  migrating,
  operations,
  Refusal,
  type Context,
  type Effect,
  type EffectOf,
  type Handler,
  type Migrate,
  type Outcome,
  type ReasonOf,
  type Shape,
} from "./implementation.ts";
export type { Json } from "./json.ts";
export type { Logger } from "./logger.ts";
export {
  serve,
  Service,
  type Fault,
  type ServeOptions,
  type ServiceEvents,
} from "./serve.ts";
