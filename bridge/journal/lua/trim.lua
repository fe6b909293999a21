-- ARGV: tag, operation, position. answer: the exported position, and for `trim` how many went
local exported = redis.call('GET', P .. 'journal:exported') or '0-0'
if ARGV[2] == 'mark' then
  if later(ARGV[3], exported) then
    redis.call('SET', P .. 'journal:exported', ARGV[3])
  end
  return answer(exported, 0)
end
if later(ARGV[3], exported) then
  return answer(exported, -1)
end
return answer(exported, redis.call('XTRIM', P .. 'journal', 'MINID', ARGV[3]))
