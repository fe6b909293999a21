-- ARGV: tag, limit, kinds that may be held
-- answer: for each entry lane, due_ms, held, attempts, error, record
local out, left = answer(), tonumber(ARGV[2])

local function list(lane, due, held)
  local claim = redis.call('HMGET', P .. 'claim:' .. lane, 'attempts', 'error')
  local attempts, error = claim[1] or 0, claim[2] or ''
  for _, record in ipairs(redis.call('LRANGE', P .. 'lane:' .. lane, 0, left - 1)) do
    local n = #out
    out[n + 1], out[n + 2], out[n + 3] = lane, due, held
    out[n + 4], out[n + 5], out[n + 6] = attempts, error, record
    attempts, error, left = 0, '', left - 1
  end
end

local ready = redis.call('ZRANGE', P .. 'ready', 0, left - 1, 'WITHSCORES')
for i = 1, #ready, 2 do
  if left > 0 then
    sound(list, ready[i], ready[i + 1], 0)
  end
end
for i = 3, #ARGV do
  local lanes = left > 0 and redis.call('SRANDMEMBER', P .. 'held:' .. ARGV[i], left) or {}
  table.sort(lanes)
  for _, lane in ipairs(lanes) do
    if left > 0 then
      sound(list, lane, 0, 1)
    end
  end
end
return out
