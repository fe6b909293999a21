-- Count a page of lanes. ARGV: tag, `ready` or `held:KIND`, cursor, an error that is known or ''
-- answer: next cursor, lanes, their effects, when the oldest was committed or '', error of one
local key, cursor = P .. ARGV[2], ARGV[3]
local held = string.sub(ARGV[2], 1, 5) == 'held:'
local found = redis.call(held and 'SSCAN' or 'ZSCAN', key, cursor, 'COUNT', 500)
local count, effects, oldest, error = 0, 0, '', ARGV[4]

local function count_lane(lane)
  local waiting = redis.call('LLEN', P .. 'lane:' .. lane)
  local why = error == '' and redis.call('HGET', P .. 'claim:' .. lane, 'error')
  local head = redis.call('LINDEX', P .. 'lane:' .. lane, 0)
  -- Canonical JSON: committed_ms is its first member.
  local at = head and string.match(head, '^%S+ {"committed_ms":(%d+),')
  if at and (oldest == '' or tonumber(at) < tonumber(oldest)) then
    oldest = at
  end
  count, effects, error = count + 1, effects + waiting, why or error
end

for i = 1, #found[2], held and 1 or 2 do
  local ok, why = sound(count_lane, found[2][i])
  error = ok and error or why
end
return answer(found[1], count, effects, oldest, error)
