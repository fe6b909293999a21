/** A contract as the SDK holds both sides to it. No I/O here. */
import { jsonType } from "./json.js";
/** What came or went is off its contract; the text names pointer, rule and type. */
export class OffContract extends Error {
    name = "OffContract";
}
/** Return every schema of a contract by the name of its validator, each complete in itself. */
export function schemasOf(file) {
    const schemas = new Map([["state", file.state]]);
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
export function effectSchemasOf(file) {
    const { $defs } = file;
    const refs = $defs["Effect"].oneOf;
    const schemas = refs.map(({ $ref }) => {
        const schema = $defs[$ref.replace("#/$defs/", "")];
        const { effect } = schema["properties"];
        return [effect.const, complete(schema, $defs)];
    });
    return new Map(schemas);
}
/** Put a contract together from its file and the validators of `schemasOf`. */
export function contractOf(file, digest, checks, effects) {
    const check = (name) => {
        const found = checks[name];
        if (!found)
            throw new Error(`${file.name}: no validator for ${name}, expected one`);
        return found;
    };
    const operations = Object.entries(file.operations).map(([name, operation]) => {
        const value = {
            kind: operation.kind,
            errors: new Set(operation.errors),
            effects: new Set(operation.effects),
            request: check(`${name} request`),
            reply: check(`${name} reply`),
        };
        return [name, value];
    });
    const events = Object.keys(file.events ?? {}).map((t) => [t, check(`event ${t}`)]);
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
export function operationOf(contract, name) {
    const operation = contract.operations.get(name);
    if (operation)
        return operation;
    const known = [...contract.operations.keys()].join(", ");
    throw new OffContract(`${contract.name}: expected one of ${known}, got operation ${name}`);
}
/** Hold a value to one schema; `what` names the value in the text. Throws OffContract. */
export function hold(check, value, what) {
    if (check(value))
        return;
    // The last error is the outermost: of a oneOf, the oneOf itself.
    const broken = check.errors?.at(-1);
    const at = broken?.instancePath ?? "";
    const expected = broken?.message ?? "a valid value";
    throw new OffContract(`${what}: ${at || "(whole value)"} breaks ${broken?.keyword ?? "its schema"}: ` +
        `${expected}, got ${jsonType(valueAt(value, at))}`);
}
/** Hold effects to the closed list and to what the operation declares. Throws OffContract. */
export function holdEffects(contract, operation, effects) {
    effects.forEach((effect, n) => {
        const what = `${contract.name} effect ${n}`;
        const members = effect;
        const kind = String(members?.["effect"]);
        const check = contract.effects[kind];
        if (!members || !check || !operation.effects.has(kind)) {
            const declared = [...operation.effects].join(", ") || "none";
            throw new OffContract(`${what}: expected one of the declared (${declared}), got ${kind}`);
        }
        hold(check, members, what);
        if (kind === "emit")
            holdEvent(contract, members, what);
        if (kind === "schedule") {
            const scheduled = operationOf(contract, members["operation"]);
            hold(scheduled.request, members["request"], `${what} request`);
        }
    });
}
/** Give a schema the definitions it refers to, and theirs. */
function complete(schema, $defs) {
    const reached = {};
    const visit = (part) => {
        if (typeof part !== "object" || part === null)
            return;
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
function holdEvent(contract, members, what) {
    const payload = contract.events.get(members["type"]);
    if (!payload) {
        const known = [...contract.events.keys()].join(", ") || "none";
        throw new OffContract(`${what}: expected an event of ${known}, got ${members["type"]}`);
    }
    hold(payload, members["payload"], `${what} payload`);
}
function valueAt(value, pointer) {
    let at = value;
    for (const token of pointer.split("/").slice(1)) {
        if (typeof at !== "object" || at === null)
            return undefined;
        at = at[token.replaceAll("~1", "/").replaceAll("~0", "~")];
    }
    return at;
}
