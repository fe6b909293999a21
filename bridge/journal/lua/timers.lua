-- ARGV: tag, limit. answer: as due_timers, leasing nothing
local out = answer()
for _, member in ipairs(redis.call('ZRANGE', P .. 'timers', 0, ARGV[2] - 1)) do
  local timer = redis.call('HMGET', P .. 'timer:' .. member, 'body', 'attempts', 'error')
  local n = #out
  out[n + 1], out[n + 2], out[n + 3], out[n + 4] = member, timer[1], timer[2] or 0, timer[3] or ''
end
return out
