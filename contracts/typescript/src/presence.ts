/** Leases in Redis: which consumers serve a subsystem, by Redis's clock. */

import type { Redis } from "ioredis";

export const RENEW_MS = 1000;
const LEASE_MS = 3000;
/** A consumer that has nothing pending and no lease is forgotten after so long. */
const FORGET_MS = 60_000;

/**
 * Renew the lease if the gateway's contract is ours; return time, its digest, and whether the
 * lease was still there. Where no gateway has announced itself nothing is written: it may be
 * somebody else's Redis.
 */
const RENEW = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local digest, lease = redis.call('GET', KEYS[2]), ARGV[1] .. ' ' .. ARGV[2]
local had = redis.call('ZSCORE', KEYS[1], lease) and 1 or 0
if digest == ARGV[2] then
  redis.call('ZADD', KEYS[1], now + ARGV[3], lease)
elseif had == 1 then
  redis.call('ZREM', KEYS[1], lease)
end
return {now, digest or '', had}
`;

/** Delete consumers from the group; one with pending entries stays, for those would be lost. */
const FORGET = `
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then return 0 end -- no stream, or no group
local live = {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  live[string.match(member, '^%S*')] = true
end
local forgotten = 0
for _, flat in ipairs(consumers) do
  local consumer = {}
  for i = 1, #flat, 2 do consumer[flat[i]] = flat[i + 1] end
  local mine = consumer.name == ARGV[3]
  local dead = not live[consumer.name] and consumer.idle >= tonumber(ARGV[2])
  if consumer.pending == 0 and (mine or (ARGV[3] == '' and dead)) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    forgotten = forgotten + 1
  end
end
return forgotten
`;

/** Which subsystems began to be served, and when: gateways look at those at once. */
const SERVED = "joelclaw:bridge:{services}:served";

export interface Keys {
  requests: string;
  presence: string;
  contract: string;
}

export function keysOf(subsystem: string): Keys {
  const prefix = `joelclaw:bridge:{${subsystem}}`;
  return {
    requests: `${prefix}:requests:typescript`,
    presence: `${prefix}:runtime:typescript`,
    contract: `${prefix}:contract`,
  };
}

/** Return Redis's time, the gateway's digest ("" for none yet), and whether a lease was held. */
export async function renew(
  redis: Redis,
  keys: Keys,
  consumer: string,
  digest: string,
): Promise<{ nowMs: number; asked: string; had: boolean }> {
  const answer = await redis.eval(
    RENEW,
    2,
    keys.presence,
    keys.contract,
    consumer,
    digest,
    LEASE_MS,
  );
  const [nowMs, asked, had] = answer as [number, string, number];
  return { nowMs, asked, had: had === 1 };
}

/** Tell the gateways that a subsystem is served from now on, so that they need not ask for all. */
export async function tellServed(redis: Redis, subsystem: string, nowMs: number): Promise<void> {
  await redis.zadd(SERVED, nowMs, subsystem);
}

export async function leave(
  redis: Redis,
  keys: Keys,
  consumer: string,
  digest: string,
): Promise<void> {
  await redis.zrem(keys.presence, `${consumer} ${digest}`);
}

/** Delete what dead consumers left of themselves in the group; return how many. */
export async function forgetDead(
  redis: Redis,
  keys: Keys,
  group: string,
  idleMs = FORGET_MS,
): Promise<number> {
  return Number(await redis.eval(FORGET, 2, keys.requests, keys.presence, group, idleMs, ""));
}

/** Delete one consumer from the group, if it has nothing pending. */
export async function forget(
  redis: Redis,
  keys: Keys,
  group: string,
  consumer: string,
): Promise<void> {
  await redis.eval(FORGET, 2, keys.requests, keys.presence, group, FORGET_MS, consumer);
}
