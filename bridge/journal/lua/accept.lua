-- Keep an accepted difference, or forget it. ARGV: tag, its id, its record or ''
-- answer: 1 if there is (or was) one
if ARGV[3] ~= '' then
  redis.call('HSET', P .. 'move:accepted', ARGV[2], ARGV[3])
  return answer(1)
end
return answer(redis.call('HDEL', P .. 'move:accepted', ARGV[2]))
