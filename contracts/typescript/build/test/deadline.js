/** Waiting for what must happen, with one deadline scale for slow machines. */
import { setTimeout as pause } from "node:timers/promises";
export const DEADLINE_MS = 20_000 * Number(process.env["TEST_SLOWNESS"] ?? 1);
/** Ask again until the answer is there; fail at the deadline, naming what was waited for. */
export async function eventually(what, ask) {
    const until = performance.now() + DEADLINE_MS;
    for (;;) {
        const answer = await ask();
        if (answer !== undefined && answer !== false)
            return answer;
        if (performance.now() > until)
            throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
        await pause(20);
    }
}
