-- Lease the heads of due lanes. ARGV: tag, token, count, lease_ms, kinds the caller can execute
-- answer: for each entry lane, due_ms, attempts, error, record
local token, count, lease_ms = ARGV[2], tonumber(ARGV[3]), math.max(1, tonumber(ARGV[4]))
local now = now_ms()
local executable = {}
for i = 5, #ARGV do
  local held = P .. 'held:' .. ARGV[i]
  executable[ARGV[i]] = true
  for _, lane in ipairs(redis.call('SRANDMEMBER', held, count)) do
    redis.call('ZADD', P .. 'ready', now, lane)
    redis.call('SREM', held, lane)
  end
end

local out, due, examined = answer(), now + lease_ms, 0
while count > 0 and examined < 1000 do
  local lanes = redis.call('ZRANGEBYSCORE', P .. 'ready', '-inf', now, 'LIMIT', 0, count)
  if #lanes == 0 then
    break
  end
  for _, lane in ipairs(lanes) do
    examined = examined + 1
    local record = redis.call('LINDEX', P .. 'lane:' .. lane, 0)
    local kind = record and string.match(record, '^%S+')
    if not kind then
      redis.call('ZREM', P .. 'ready', lane)
    elseif executable[kind] then
      local claim = P .. 'claim:' .. lane
      redis.call('ZADD', P .. 'ready', due, lane)
      redis.call('HSET', claim, 'token', token)
      local failures = redis.call('HMGET', claim, 'attempts', 'error')
      local n = #out
      out[n + 1], out[n + 2], out[n + 3] = lane, due, failures[1] or 0
      out[n + 4], out[n + 5] = failures[2] or '', record
      count = count - 1
    else
      redis.call('SADD', P .. 'held:' .. kind, lane)
      redis.call('ZREM', P .. 'ready', lane)
    end
  end
end
return out
