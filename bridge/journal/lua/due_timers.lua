-- ARGV: tag, count, lease_ms. The score is when a timer shows itself, the body has when it is due.
-- answer: for each timer member, body, attempts, error
local now = now_ms()
local out, again = answer(), now + math.max(1, tonumber(ARGV[3]))
for _, member in ipairs(
  redis.call('ZRANGEBYSCORE', P .. 'timers', '-inf', now, 'LIMIT', 0, ARGV[2])) do
  redis.call('ZADD', P .. 'timers', again, member)
  sound(list_timer, out, member)
end
return out
