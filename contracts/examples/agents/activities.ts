/**
 * The steps of a loop, as they would ask their models: here each is a stand-in that answers at once.
 *
 * Put a model, a sandbox and a repository in their place; what decides is in agents.py and agents.ex.
 */

import { appendFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

import { activity, NotRetryable, type ActivityCall } from "joelclaw-bridge";

interface Story {
  id: string;
  title: string;
}

/** How long a stand-in thinks; with a file in AGENTS_LOG it notes what it was asked. */
const THINKING_MS = Number(process.env["AGENTS_THINKING_MS"] ?? 0);

async function think(step: string, call: ActivityCall): Promise<void> {
  const line = `${call.idempotencyKey} ${call.attempt} ${step}\n`;
  if (process.env["AGENTS_LOG"]) appendFileSync(process.env["AGENTS_LOG"], line);
  call.heartbeat();
  if (THINKING_MS > 0) await pause(THINKING_MS, undefined, { signal: call.signal });
}

async function plan({ goal }: { goal: string }, call: ActivityCall) {
  await think("plan", call);
  if (goal === "") throw new NotRetryable("a plan of nothing");
  const titles = goal.split(";").map((title) => title.trim());
  return { stories: titles.map((title, n) => ({ id: `story-${n + 1}`, title })) };
}

async function tests({ story }: { story: Story }, call: ActivityCall) {
  await think(`tests ${story.id}`, call);
  return { tests: `tests of ${story.title}` };
}

async function implement(
  { story, tool, feedback }: { story: Story; tool: string; feedback: string },
  call: ActivityCall,
) {
  await think(`implement ${story.id} ${tool}`, call);
  return { commit: `${story.id} by ${tool}${feedback && `, ${feedback}`}` };
}

async function review({ story, commit }: { story: Story; commit: string }, call: ActivityCall) {
  await think(`review ${story.id}`, call);
  return { review: `read ${commit}` };
}

/** What is hard takes the second tool, what is impossible none. */
async function judge({ story, commit }: { story: Story; commit: string }, call: ActivityCall) {
  await think(`judge ${story.id}`, call);
  const hard = story.title.startsWith("hard") && commit.endsWith("by codex");
  const passed = !hard && !story.title.startsWith("impossible");
  return { passed, feedback: passed ? "" : `${commit} does not do` };
}

export const activities = [
  activity("plan", plan),
  activity("tests", tests),
  activity("implement", implement),
  activity("review", review),
  activity("judge", judge),
];
