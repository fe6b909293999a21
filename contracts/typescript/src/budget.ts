/**
 * Computing time for functions that share one thread.
 *
 * A watchdog of node:vm terminates whatever JavaScript runs when its time is up, also code that
 * was defined outside the script, in a `catch`, in a regular expression; Node and Bun both do.
 * Arming it takes 0.12 ms in Node, so one watchdog covers a slice of jobs.
 */

import vm from "node:vm";

import { endScope } from "./unheard.ts";

export interface Job<T> {
  /** May be started again from its beginning: keep nothing between runs. Must not throw. */
  run: () => T;
  budgetMs: number;
}

export type Ran<T> = { value: T } | { timeout: true };

/** Give the thread back to timers and sockets after so long, whatever is left to do. */
const SLICE_MS = 25;
/** A process that was stopped or starved loses time without having computed: ask again. */
const MAX_STARTS = 4;

const sandbox: { run: () => void } = { run: () => {} };
const context = vm.createContext(sandbox);
const script = new vm.Script("run()");

/** Run jobs in order, each for at most its budget; yield their results slice by slice. */
export async function* runInSlices<T>(jobs: ReadonlyArray<Job<T>>): AsyncGenerator<Ran<T>[]> {
  let starts = 0;
  for (let done = 0; done < jobs.length;) {
    const budgetMs = (jobs[done] as Job<T>).budgetMs;
    const busy = cpuMs();
    const [results, terminated] = runSlice(jobs.slice(done), budgetMs);
    if (results.length > 0 || !terminated) {
      // If terminated, the job that was running had less than the whole budget: it is next.
      starts = 0;
    } else if (cpuMs() - busy >= budgetMs / 2 || ++starts >= MAX_STARTS) {
      results.push({ timeout: true });
      starts = 0;
    }
    done += results.length;
    yield results;
  }
}

function runSlice<T>(jobs: ReadonlyArray<Job<T>>, budgetMs: number): [Ran<T>[], boolean] {
  const results: Ran<T>[] = [];
  const until = performance.now() + SLICE_MS;
  sandbox.run = () => {
    for (const job of jobs) {
      results.push({ value: job.run() });
      if (performance.now() >= until) return;
    }
  };
  try {
    script.runInContext(context, { timeout: budgetMs });
    return [results, false];
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    return [results, true];
  } finally {
    endScope();
  }
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
