-- ARGV: tag, id of a dead letter
local id = ARGV[2]
local letter = redis.call('HMGET', P .. 'dead:' .. id, 'what', 'lane', 'record', 'set_by')
local what, lane, record, set_by = unpack(letter)
if not what then
  return answer(0)
end
if what == 'effect' then
  if redis.call('LLEN', P .. 'lane:' .. lane) == 0 then -- else it is in `ready` or held already
    redis.call('ZADD', P .. 'ready', now_ms(), lane)
  end
  redis.call('RPUSH', P .. 'lane:' .. lane, record)
elseif redis.call('EXISTS', P .. 'timer:' .. lane) == 1 then
  return answer(0) -- set again since: the dead one would replace its own successor
else
  redis.call('HSET', P .. 'timer:' .. lane, 'body', record, 'set_by', set_by)
  redis.call('ZADD', P .. 'timers', now_ms(), lane)
end
redis.call('ZREM', P .. 'dead', id)
redis.call('DEL', P .. 'dead:' .. id)
return answer(1)
