-- Lease the heads of due lanes: of each lane as many effects of one kind as stand at its head.
-- ARGV: tag, token, count (of effects, in all), together (of a lane at most), bytes (in all),
-- lease_ms, kinds the caller can execute
-- answer: for each effect lane, due_ms, attempts, error, record; a lane's in its order
local token, count, together = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local bytes, lease_ms = tonumber(ARGV[5]), math.max(1, tonumber(ARGV[6]))
local now = now_ms()
local executable = {}
for i = 7, #ARGV do
  local held = P .. 'held:' .. ARGV[i]
  executable[ARGV[i]] = true
  for _, lane in ipairs(redis.call('SRANDMEMBER', held, count)) do
    redis.call('ZADD', P .. 'ready', now, lane)
    redis.call('SREM', held, lane)
  end
end

local function kind_of(record)
  return record and string.match(record, '^%S+')
end

local out, due, examined = answer(), now + lease_ms, 0

local function claim(lane, kind, records)
  local claimed = P .. 'claim:' .. lane
  local failures = redis.call('HMGET', claimed, 'attempts', 'error')
  local attempts, error = failures[1] or 0, failures[2] or ''
  redis.call('ZADD', P .. 'ready', due, lane)
  redis.call('HSET', claimed, 'token', token)
  for _, record in ipairs(records) do
    if kind_of(record) ~= kind or count == 0 or (#out > 1 and bytes < #record) then
      return
    end
    local n = #out
    out[n + 1], out[n + 2], out[n + 3] = lane, due, attempts
    out[n + 4], out[n + 5] = error, record
    attempts, error = 0, ''
    count, bytes = count - 1, bytes - #record
  end
end

local function examine(lane)
  local records = redis.call('LRANGE', P .. 'lane:' .. lane, 0, math.min(count, together) - 1)
  local kind = kind_of(records[1])
  if not kind then
    redis.call('ZREM', P .. 'ready', lane)
  elseif not executable[kind] then
    redis.call('SADD', P .. 'held:' .. kind, lane)
    redis.call('ZREM', P .. 'ready', lane)
  elseif #out > 1 and bytes < #records[1] then
    bytes = 0
  else
    claim(lane, kind, records)
  end
end

while count > 0 and bytes > 0 and examined < 1000 do
  local lanes = redis.call('ZRANGEBYSCORE', P .. 'ready', '-inf', now, 'LIMIT', 0, count)
  if #lanes == 0 then
    break
  end
  for _, lane in ipairs(lanes) do
    if count == 0 or bytes <= 0 then
      break
    end
    examined = examined + 1
    if not sound(examine, lane) then
      redis.call('ZADD', P .. 'ready', due, lane)
    end
  end
end
return out
