/** A contract as the SDK holds both sides to it. No I/O here. */

import { jsonType, type Json } from "./json.ts";

type Schema = { [keyword: string]: Json };

/** contracts/subsystems/<name>/subsystem.json, as far as a runtime needs it. */
export interface ContractFile {
  name: string;
  state: Schema;
  operations: Record<
    string,
    {
      kind: "command" | "query";
      request: Schema;
      reply: Schema;
      effects?: string[];
      errors?: string[];
    }
  >;
  events?: Record<string, Schema>;
  $defs?: Record<string, Schema>;
}

/** One broken rule, in ajv's words. */
interface Broken {
  instancePath: string;
  keyword: string;
  params: Record<string, unknown>;
  message?: string | undefined;
}

/** A validator as ajv makes them: `errors` is set when it answers false. */
export interface Check {
  (value: unknown): unknown;
  errors?: Broken[] | null | undefined;
}

export interface Operation {
  kind: "command" | "query";
  errors: ReadonlySet<string>;
  effects: ReadonlySet<string>;
  request: Check;
  reply: Check;
}

export interface Contract {
  name: string;
  digest: string;
  state: Check;
  operations: ReadonlyMap<string, Operation>;
  events: ReadonlyMap<string, Check>;
  effects: Effects;
}

/** A validator for each kind of the closed list of effects. */
export type Effects = Readonly<Record<string, Check>>;

/** What came or went is off its contract; the text names pointer, rule and type. */
export class OffContract extends Error {
  override readonly name = "OffContract";
}

/** Return every schema of a contract by the name of its validator, each complete in itself. */
export function schemasOf(file: ContractFile): Map<string, Schema> {
  const schemas = new Map<string, Schema>([["state", file.state]]);
  for (const [name, operation] of Object.entries(file.operations)) {
    schemas.set(`${name} request`, operation.request);
    schemas.set(`${name} reply`, operation.reply);
  }
  for (const [type, payload] of Object.entries(file.events ?? {})) {
    schemas.set(`event ${type}`, payload);
  }
  for (const [name, schema] of schemas) {
    schemas.set(name, complete(schema, file.$defs ?? {}));
  }
  return schemas;
}

/** Return the schema of each kind of effect, from contracts/meta/effects.schema.json. */
export function effectSchemasOf(file: { $defs: Record<string, Schema> }): Map<string, Schema> {
  const { $defs } = file;
  const refs = ($defs["Effect"] as { oneOf: Array<{ $ref: string }> }).oneOf;
  const schemas = refs.map(({ $ref }) => {
    const schema = $defs[$ref.replace("#/$defs/", "")] as Schema;
    const { effect } = schema["properties"] as { effect: { const: string } };
    return [effect.const, complete(schema, $defs)] as const;
  });
  return new Map(schemas);
}

/** Return the schema of each of joelclaw's envelopes, from contracts/joelclaw. */
export function envelopeSchemasOf(file: {
  anyOf: Array<{ $ref: string }>;
  $defs: Record<string, Schema>;
}): Map<string, Schema> {
  const names = file.anyOf.map(({ $ref }) => $ref.replace("#/$defs/", ""));
  return new Map(names.map((name) => [name, complete(file.$defs[name] as Schema, file.$defs)]));
}

/** Put a contract together from its file and the validators of `schemasOf`. */
export function contractOf(
  file: ContractFile,
  digest: string,
  checks: Readonly<Record<string, Check>>,
  effects: Effects,
): Contract {
  const check = (name: string): Check => {
    const found = checks[name];
    if (!found) throw new Error(`${file.name}: no validator for ${name}, expected one`);
    return found;
  };
  const operations = Object.entries(file.operations).map(([name, operation]) => {
    const value: Operation = {
      kind: operation.kind,
      errors: new Set(operation.errors),
      effects: new Set(operation.effects),
      request: check(`${name} request`),
      reply: check(`${name} reply`),
    };
    return [name, value] as const;
  });
  const events = Object.keys(file.events ?? {}).map((t) => [t, check(`event ${t}`)] as const);
  return {
    name: file.name,
    digest,
    state: check("state"),
    operations: new Map(operations),
    events: new Map(events),
    effects,
  };
}

/** Return the operation of that name. Throws OffContract. */
export function operationOf(contract: Contract, name: string): Operation {
  const operation = contract.operations.get(name);
  if (operation) return operation;
  const known = [...contract.operations.keys()].join(", ");
  throw new OffContract(`${contract.name}: expected one of ${known}, got operation ${name}`);
}

/** Hold a value to one schema; `what` names the value in the text. Throws OffContract. */
export function hold(check: Check, value: Json, what: string): void {
  if (check(value)) return;
  // The last error is the outermost: of a oneOf, the oneOf itself.
  const broken = check.errors?.at(-1);
  const at = broken?.instancePath ?? "";
  const expected = broken?.message ?? "a valid value";
  throw new OffContract(
    `${what}: ${at || "(whole value)"} breaks ${broken?.keyword ?? "its schema"}: ` +
      `${expected}, got ${jsonType(valueAt(value, at))}`,
  );
}

/** Hold effects to the closed list and to what the operation declares. Throws OffContract. */
export function holdEffects(contract: Contract, operation: Operation, effects: Json[]): void {
  effects.forEach((effect, n) => {
    const what = `${contract.name} effect ${n}`;
    const members = effect as { [member: string]: Json } | null;
    const kind = String(members?.["effect"]);
    const check = contract.effects[kind];
    if (!members || !check || !operation.effects.has(kind)) {
      const declared = [...operation.effects].join(", ") || "none";
      throw new OffContract(`${what}: expected one of the declared (${declared}), got ${kind}`);
    }
    hold(check, members, what);
    if (kind === "emit") holdEvent(contract, members, what);
    if (kind === "schedule") {
      const scheduled = operationOf(contract, members["operation"] as string);
      hold(scheduled.request, members["request"] as Json, `${what} request`);
    }
  });
}

/** Give a schema the definitions it refers to, and theirs. */
function complete(schema: Schema, $defs: Record<string, Schema>): Schema {
  const reached: Record<string, Schema> = {};
  const visit = (part: Json): void => {
    if (typeof part !== "object" || part === null) return;
    const ref = Array.isArray(part) ? undefined : part["$ref"];
    const name = typeof ref === "string" ? ref.replace("#/$defs/", "") : undefined;
    const found = name === undefined ? undefined : $defs[name];
    if (name !== undefined && found && !(name in reached)) {
      reached[name] = found;
      visit(found);
    }
    Object.values(part).forEach(visit);
  };
  visit(schema);
  return { ...schema, $defs: reached };
}

function holdEvent(contract: Contract, members: { [member: string]: Json }, what: string): void {
  const payload = contract.events.get(members["type"] as string);
  if (!payload) {
    const known = [...contract.events.keys()].join(", ") || "none";
    throw new OffContract(`${what}: expected an event of ${known}, got ${members["type"]}`);
  }
  hold(payload, members["payload"] as Json, `${what} payload`);
}

function valueAt(value: Json, pointer: string): unknown {
  let at: unknown = value;
  for (const token of pointer.split("/").slice(1)) {
    if (typeof at !== "object" || at === null) return undefined;
    at = (at as Record<string, unknown>)[token.replaceAll("~1", "/").replaceAll("~0", "~")];
  }
  return at;
}
