-- ARGV: tag, operation, position. answer: the exported position, and for `trim` how many went
local function parts(position)
  local ms, n = string.match(position, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end

local function later(a, b)
  local a_ms, a_n = parts(a)
  local b_ms, b_n = parts(b)
  return a_ms > b_ms or (a_ms == b_ms and a_n > b_n)
end

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
