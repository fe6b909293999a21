-- When there is something to do. ARGV: tag, kinds of effects the caller can execute
-- answer: ms until a lane is due, ms until a timer is; -1 for never
local now = now_ms()

-- A key of another type is due, too: whoever works on it says what it is.
local function left(set)
  local there, first = sound(redis.call, 'ZRANGE', set, 0, 0, 'WITHSCORES')
  if not there then
    return 0
  end
  return first[2] and math.max(0, first[2] - now) or -1
end

local held = {}
for i = 2, #ARGV do
  held[#held + 1] = P .. 'held:' .. ARGV[i]
end
local lane = left(P .. 'ready')
if #held > 0 and redis.call('EXISTS', unpack(held)) > 0 then
  lane = 0
end
return answer(lane, left(P .. 'timers'))
