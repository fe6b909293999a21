-- Take, renew or let go of the lease on a subsystem's deliveries. ARGV: tag, token, lease_ms or 0
-- answer: who holds it, then, if that is the caller, the first delivery: position, event,
-- attempts, error, ms until it may be tried again
local token, lease_ms = ARGV[2], ARGV[3]
local holder = redis.call('GET', P .. 'outlet')
if lease_ms == '0' then
  if holder == token then
    redis.call('DEL', P .. 'outlet')
    holder = false
  end
  return answer(holder or '')
end
if holder and holder ~= token then
  return answer(holder)
end
redis.call('SET', P .. 'outlet', token, 'PX', lease_ms)
local first = redis.call('XRANGE', P .. 'deliveries', '-', '+', 'COUNT', 1)[1]
if not first then
  return answer(token)
end
local head = redis.call('HMGET', P .. 'deliveries:head', 'position', 'attempts', 'error',
  'retry_ms')
if head[1] ~= first[1] then
  return answer(token, first[1], first[2][2], 0, '', 0)
end
local wait_ms = math.max(0, (head[4] or 0) - now_ms())
return answer(token, first[1], first[2][2], head[2] or 0, head[3] or '', wait_ms)
