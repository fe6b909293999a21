-- ARGV: tag, member, set_by, error, retry_after_ms, max_attempts
local member, set_by, error = ARGV[2], ARGV[3], ARGV[4]
local timer = P .. 'timer:' .. member
local standing = redis.call('HMGET', timer, 'set_by', 'attempts', 'body')
if standing[1] ~= set_by then
  return answer('lost')
end
local failures = (standing[2] or 0) + 1
if failures >= tonumber(ARGV[6]) then
  bury(set_by, failures, error,
    {'what', 'timer', 'lane', member, 'record', standing[3], 'set_by', set_by})
  drop_timer(member)
  return answer('dead')
end
redis.call('HSET', timer, 'attempts', failures, 'error', error)
redis.call('ZADD', P .. 'timers', now_ms() + ARGV[5], member)
return answer('retried')
