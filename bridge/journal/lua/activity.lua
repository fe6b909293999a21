-- What a service with activities does. ARGV: tag, activity, then one of
--   serve CONSUMER LEASE_MS          the lease; answer: 0 if no gateway has announced itself
--   leave CONSUMER
--   take STREAM GROUP ENTRY LANE ATTEMPT   answer: 1 if it is to be run
--   keep LANE ATTEMPT BEAT           BEAT 1: the function itself has said something
--     answer: 1 while it is wanted
--   answer LANE ATTEMPT ANSWER       answer: 1 if it is kept
local activity, what = ARGV[2], ARGV[3]
local now = now_ms()
if what == 'serve' then
  if redis.call('EXISTS', P .. 'contract') == 0 then
    return answer(0)
  end
  redis.call('ZADD', P .. 'activity:' .. activity, now + ARGV[5], ARGV[4])
  return answer(1)
elseif what == 'leave' then
  return answer(redis.call('ZREM', P .. 'activity:' .. activity, ARGV[4]))
elseif what == 'take' then
  redis.call('XACK', ARGV[4], ARGV[5], ARGV[6])
  redis.call('XDEL', ARGV[4], ARGV[6])
end

local lane, attempt = ARGV[4], ARGV[5]
if what == 'take' then
  lane, attempt = ARGV[7], ARGV[8]
end
local claim = P .. 'claim:' .. lane
local standing = redis.call('HMGET', claim, 'attempts', 'sent', 'answer', 'heard_ms')
local wanted = standing[1] == attempt and (standing[2] or '') ~= '' and (standing[3] or '') == ''
if not wanted or (what == 'take' and standing[4]) then
  return answer(0)
end
if what == 'answer' then
  redis.call('HSET', claim, 'answer', ARGV[6])
  return answer(1)
end
redis.call('HSET', claim, 'heard_ms', string.format('%.0f', now))
if what == 'take' or ARGV[6] == '1' then
  redis.call('HSET', claim, 'beat_ms', string.format('%.0f', now))
end
return answer(1)
