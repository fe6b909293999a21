-- What each gateway worker says of itself, until its lease ends. ARGV: tag, then one of
--   tell NAME LEASE_MS FIGURES ('': as before)   answer: 1, or 0 if what was before is gone
--   leave NAME
--   share SUBSYSTEM                               what is to do there, others shall look at, too
--   shared SINCE_MS                               answer: now, subsystems shared since, workers
--   told                                          answer: name and figures of each
local what, name = ARGV[2], ARGV[3]

local function forget(gone)
  redis.call('ZREM', P .. 'leases', gone)
  redis.call('HDEL', P .. 'figures', gone)
end

local now = now_ms()
if what == 'share' then
  redis.call('ZADD', P .. 'shared', now, name)
  return answer()
end
for _, ended in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', 0, now)) do
  forget(ended)
end
if what == 'tell' then
  if ARGV[5] ~= '' then
    redis.call('HSET', P .. 'figures', name, ARGV[5])
  elseif not redis.call('HGET', P .. 'figures', name) then
    return answer(0)
  end
  redis.call('ZADD', P .. 'leases', now + ARGV[4], name)
  return answer(1)
elseif what == 'leave' then
  forget(name)
  return answer()
end
if what == 'shared' then
  redis.call('ZREMRANGEBYSCORE', P .. 'shared', '-inf', now - 60000)
  return answer(now, redis.call('ZRANGEBYSCORE', P .. 'shared', name, '+inf'),
    redis.call('ZRANGE', P .. 'leases', 0, -1))
end
local out = answer()
for _, there in ipairs(redis.call('ZRANGE', P .. 'leases', 0, -1)) do
  out[#out + 1] = there
  out[#out + 1] = redis.call('HGET', P .. 'figures', there) or '{}'
end
return out
