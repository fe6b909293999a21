-- Where effects of a kind go: known as away or not, to all workers. Here KEYS[1] is its hash.
-- ARGV: tag, then one of
--   look
--   away ERROR PAUSE_MS LONGEST_MS RETRY_AFTER_MS: an attempt failed; the pause doubles each time
--   probe: ask for the one attempt that is due, whoever makes it
--   back
-- answer: since when it is away ('' if it is not), failed attempts, last error, ms until the next
-- attempt, and, asked for one, 1 if the caller makes it
local what, now = ARGV[2], now_ms()
local found = redis.call('HMGET', P, 'since_ms', 'attempts', 'error', 'next_ms', 'pause_ms')
local granted = 0
if what == 'back' then
  redis.call('DEL', P)
  found = {}
elseif what == 'away' then
  local pause = math.min((found[5] or ARGV[4] / 2) * 2, tonumber(ARGV[5]))
  local wait = math.max(pause, tonumber(ARGV[6]))
  found = {found[1] or string.format('%.0f', now), (found[2] or 0) + 1, ARGV[3], now + wait}
  redis.call('HSET', P, 'since_ms', found[1], 'attempts', found[2], 'error', found[3],
    'next_ms', string.format('%.0f', found[4]), 'pause_ms', pause)
elseif what == 'probe' and found[1] and tonumber(found[4]) <= now then
  granted = 1
  found[4] = now + found[5] -- nobody else's meanwhile, and somebody else's if this one dies
  redis.call('HSET', P, 'next_ms', string.format('%.0f', found[4]))
end
return answer(found[1] or '', found[2] or 0, found[3] or '',
  math.max(0, (found[4] or 0) - now), granted)
