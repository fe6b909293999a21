-- ARGV: tag, lane, token
if redis.call('HGET', P .. 'claim:' .. ARGV[2], 'token') ~= ARGV[3] then
  return answer(0)
end
release(ARGV[2])
return answer(1)
