/** Validators of contracts that came after this package was built. No I/O here. */
import { Ajv2020 } from "ajv/dist/2020.js";
import { contractOf, schemasOf, } from "./contract.js";
import { digest } from "./json.js";
/** The generator uses the same: a built-in contract and one of yours are held alike. */
export const AJV_OPTIONS = {
    strict: true,
    strictTypes: false, // ["integer", "null"] is in the subset, ajv calls it strange
    validateFormats: false, // annotations only, in the subset
};
/** Compile the contract of a parsed subsystem.json. Throws what ajv says of a bad schema. */
export function compileContract(file, effects) {
    const ajv = new Ajv2020(AJV_OPTIONS);
    const checks = {};
    for (const [name, schema] of schemasOf(file))
        checks[name] = ajv.compile(schema);
    return contractOf(file, digest(file), checks, effects);
}
