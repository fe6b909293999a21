-- Of a claimed lane the first effects were executed, the next one was not.
-- ARGV: tag, lane, token, id of that, error, retry_after_ms, max_attempts, how many were executed,
-- the kind it is held as until that can be executed, or ''
local lane, id, error, kind = ARGV[2], ARGV[4], ARGV[5], ARGV[9]
local claim = P .. 'claim:' .. lane
local standing = redis.call('HMGET', claim, 'token', 'attempts')
if standing[1] ~= ARGV[3] then
  return answer('lost')
end
local now, failures = now_ms(), (standing[2] or 0) + 1
if tonumber(ARGV[8]) > 0 then
  redis.call('LPOP', P .. 'lane:' .. lane, ARGV[8])
  failures = 1
end
if kind ~= '' then
  redis.call('HDEL', claim, 'token')
  redis.call('HSET', claim, 'attempts', failures - 1, 'error', error)
  redis.call('SADD', P .. 'held:' .. kind, lane)
  redis.call('ZREM', P .. 'ready', lane)
  return answer('held')
end
if failures >= tonumber(ARGV[7]) then
  local record = redis.call('LINDEX', P .. 'lane:' .. lane, 0)
  bury(id, failures, error, {'what', 'effect', 'lane', lane, 'record', record})
  release(lane, 1)
  return answer('dead')
end
redis.call('HDEL', claim, 'token')
redis.call('HSET', claim, 'attempts', failures, 'error', error)
redis.call('ZADD', P .. 'ready', now + ARGV[6], lane)
return answer('retried')
