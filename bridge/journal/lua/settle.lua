-- Tell what becomes of a delivery. ARGV: tag, token, position, then one of
--   begin | done | failed ERROR RETRY_AFTER_MS | given_back
-- answer: for `begin` the attempt's number, else 1; 0 if it is another's by now, or gone.
-- Only `begin` needs the lease: who lost it to nobody may still say how it ended.
local token, position, what = ARGV[2], ARGV[3], ARGV[4]
local holder = redis.call('GET', P .. 'outlet')
if holder ~= token and (holder or what == 'begin') then
  return answer(0)
end
local head = P .. 'deliveries:head'
local mine = redis.call('HGET', head, 'position') == position
if what == 'done' then
  if mine then
    redis.call('DEL', head)
  end
  return answer(redis.call('XDEL', P .. 'deliveries', position))
end
if #redis.call('XRANGE', P .. 'deliveries', position, position) == 0 then
  return answer(0)
end
if what == 'begin' then
  if not mine then
    redis.call('DEL', head)
    redis.call('HSET', head, 'position', position)
  end
  return answer(redis.call('HINCRBY', head, 'attempts', 1))
end
local attempts = mine and tonumber(redis.call('HGET', head, 'attempts')) or 0
if attempts == 0 then
  return answer(0)
end
if what == 'failed' then
  redis.call('HSET', head, 'error', ARGV[5], 'retry_ms', now_ms() + ARGV[6])
else
  redis.call('HSET', head, 'attempts', attempts - 1)
end
return answer(1)
