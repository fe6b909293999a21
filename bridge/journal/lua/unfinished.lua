-- ARGV: tag, then a key that may have been left half written, or nothing, and what becomes of it:
-- '' (kept, if it was) or `forget` (nothing of it was written but the mark)
-- answer: the message that did not end, or '', then all keys that wait to be mended
local key, open = ARGV[2], ''
if key then
  open = redis.call('HGET', P .. 'state:' .. key, 'open') or ''
  if ARGV[3] == 'forget' then
    redis.call('HSET', P .. 'state:' .. key, 'open', '')
    open = ''
  end
  if open ~= '' then
    redis.call('SADD', P .. 'unfinished', key)
  else
    redis.call('SREM', P .. 'unfinished', key)
  end
end
return answer(open, redis.call('SMEMBERS', P .. 'unfinished'))
