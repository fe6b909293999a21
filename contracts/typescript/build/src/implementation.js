/** What an implementation is: a function of state and message. No I/O here. */
/** Make a handler of one function per operation; the compiler asks for each of them. */
export function operations(table) {
    const functions = new Map(Object.entries(table));
    return (state, operation, request, context) => {
        const answer = functions.get(operation);
        if (!answer)
            throw new Error(`operation ${operation} is not implemented`);
        return answer(state, request, context);
    };
}
/**
 * A handler's own no: nothing is committed, the client gets `refused`.
 *
 * `reason` must be declared in the operation's `errors`. Any error named `Refusal` that has a
 * string `reason` counts, so an implementation may carry its own copy of this class.
 */
export class Refusal extends Error {
    name = "Refusal";
    reason;
    detail;
    constructor(reason, message = "", detail = {}) {
        super(message || reason);
        this.reason = reason;
        this.detail = detail;
    }
}
export function isRefusal(error) {
    return (error instanceof Error &&
        error.name === "Refusal" &&
        "reason" in error &&
        typeof error.reason === "string");
}
