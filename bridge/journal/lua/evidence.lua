-- Add to the evidence of a move. With another build of one side it begins anew; in a canary what speaks
-- against the candidate stays, and what was the same is counted apart, as `before`.
-- ARGV: tag, the epoch under which that was seen, both sides' builds or '', '1' if it went away, how many counters,
-- each as name and number, how many samples, each as name and text, then what is kept to explain
-- answer: 1, or 0 if that was before the last move, whose id is the epoch it began with
local id = redis.call('HGET', P .. 'move', 'id')
if not id or tonumber(ARGV[2]) < tonumber(id) then
  return answer(0)
end
local MOST_SIGNATURES, MOST_TRACES = 200, 1000
local at, now, build = P .. 'move:evidence', now_ms(), ARGV[3]
local seen = redis.call('HMGET', at, 'build', 'move', 'restarts')
if seen[2] ~= id or (build ~= '' and seen[1] and seen[1] ~= '' and seen[1] ~= build) then
  local restarts = 0
  if seen[2] == id then
    restarts = (seen[3] or 0) + 1
  end
  local stays, before = {}, 0
  if seen[2] == id and redis.call('HGET', P .. 'route', 'phase') == 'canary' then
    local KEPT = {violations = 1, losses = 1, last_loss_ms = 1, signatures = 1, samples = 1}
    local there = redis.call('HGETALL', at)
    for n = 1, #there, 2 do
      local name = there[n]
      if KEPT[name] or string.sub(name, 1, 4) == 'sig:' or string.sub(name, 1, 7) == 'sample:' then
        stays[#stays + 1] = name
        stays[#stays + 1] = there[n + 1]
      elseif name == 'same' or name == 'before' then
        before = before + there[n + 1]
      end
    end
  end
  redis.call('DEL', at)
  redis.call('HSET', at, 'move', id, 'since_ms', string.format('%.0f', now),
    'restarts', restarts, 'before', string.format('%.0f', before))
  for n = 1, #stays, 2 do
    redis.call('HSET', at, stays[n], stays[n + 1])
  end
end
if build ~= '' then
  redis.call('HSET', at, 'build', build)
end
if ARGV[4] == '1' then
  local last = tonumber(redis.call('HGET', at, 'last_loss_ms') or 0)
  if now - last > 1000 then
    redis.call('HINCRBY', at, 'losses', 1)
    redis.call('HSET', at, 'last_loss_ms', string.format('%.0f', now))
  end
end
local i = 6
local last = i + 2 * ARGV[5]
while i < last do
  local name = ARGV[i]
  if string.sub(name, 1, 4) == 'sig:' and not redis.call('HGET', at, name) then
    if redis.call('HINCRBY', at, 'signatures', 1) > MOST_SIGNATURES then
      name = 'sig:other'
    end
  end
  redis.call('HINCRBY', at, name, ARGV[i + 1])
  i = i + 2
end
last = i + 1 + 2 * ARGV[i]
i = i + 1
while i < last do
  if not redis.call('HGET', at, ARGV[i])
    and redis.call('HINCRBY', at, 'samples', 1) <= MOST_SIGNATURES then
    redis.call('HSET', at, ARGV[i], ARGV[i + 1])
  end
  i = i + 2
end
while i <= #ARGV do
  redis.call('XADD', P .. 'move:traces', 'MAXLEN', '~', MOST_TRACES, '*', 'trace', ARGV[i])
  i = i + 1
end
return answer(1)
