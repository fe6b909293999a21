-- ARGV: tag, limit. answer: for each dead letter id, what, lane, record, error, attempts, died_ms
local out = answer()
for _, id in ipairs(redis.call('ZRANGE', P .. 'dead', 0, ARGV[2] - 1)) do
  local letter = redis.call('HMGET', P .. 'dead:' .. id, 'what', 'lane', 'record', 'error',
    'attempts', 'died_ms')
  out[#out + 1] = id
  for _, field in ipairs(letter) do
    out[#out + 1] = field
  end
end
return out
