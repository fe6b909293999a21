-- ARGV: tag, limit. answer: how many there are, the last one's error, then for each dead letter
-- id, what, lane, record, error, attempts, died_ms
local last, last_error = redis.call('ZRANGE', P .. 'dead', -1, -1)[1], ''
sound(function()
  last_error = last and redis.call('HGET', P .. 'dead:' .. last, 'error') or ''
end)
local out = answer(redis.call('ZCARD', P .. 'dead'), last_error)

local function list(id)
  local letter = redis.call('HMGET', P .. 'dead:' .. id, 'what', 'lane', 'record', 'error',
    'attempts', 'died_ms')
  out[#out + 1] = id
  for _, field in ipairs(letter) do
    out[#out + 1] = field
  end
end

for _, id in ipairs(redis.call('ZRANGE', P .. 'dead', 0, ARGV[2] - 1)) do
  sound(list, id)
end
return out
