-- ARGV: tag, operation, position. answer: the exported position, and how many entries went
--   mark: everything up to the position is in files
--   begin: what stands before the position may go; from now on no commit builds on it
--   step: drop some of it
local operation, position = ARGV[2], ARGV[3]
local exported = redis.call('GET', P .. 'journal:exported') or '0-0'
if operation == 'mark' then
  if later(position, exported) then
    redis.call('SET', P .. 'journal:exported', position)
  end
  return answer(exported, 0)
end
if later(position, exported) then
  return answer(exported, -1)
end
if operation == 'begin' then
  if later(position, redis.call('GET', P .. 'journal:trimmed') or '0-0') then
    redis.call('SET', P .. 'journal:trimmed', position)
  end
  return answer(exported, 0)
end
local dropped = redis.call('XTRIM', P .. 'journal', 'MINID', '~', position, 'LIMIT', 500)
if dropped == 0 then -- less than a node of the stream
  dropped = redis.call('XTRIM', P .. 'journal', 'MINID', position)
end
return answer(exported, dropped)
