-- ARGV: tag, lane, token, entry id, error, retry_after_ms, max_attempts
local lane, id, error = ARGV[2], ARGV[4], ARGV[5]
local claim = P .. 'claim:' .. lane
local standing = redis.call('HMGET', claim, 'token', 'attempts')
if standing[1] ~= ARGV[3] then
  return answer('lost')
end
local failures = (standing[2] or 0) + 1
if failures >= tonumber(ARGV[7]) then
  local record = redis.call('LINDEX', P .. 'lane:' .. lane, 0)
  bury(id, failures, error, {'what', 'effect', 'lane', lane, 'record', record})
  release(lane)
  return answer('dead')
end
redis.call('HDEL', claim, 'token')
redis.call('HSET', claim, 'attempts', failures, 'error', error)
redis.call('ZADD', P .. 'ready', now_ms() + ARGV[6], lane)
return answer('retried')
