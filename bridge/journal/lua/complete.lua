-- ARGV: tag, lane, token, how many of its effects were executed. answer: 1, 0 if it is another's
if redis.call('HGET', P .. 'claim:' .. ARGV[2], 'token') ~= ARGV[3] then
  return answer(0)
end
release(ARGV[2], ARGV[4])
return answer(1)
