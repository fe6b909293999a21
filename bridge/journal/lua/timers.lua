-- ARGV: tag, limit. answer: as due_timers, leasing nothing
local out = answer()
for _, member in ipairs(redis.call('ZRANGE', P .. 'timers', 0, ARGV[2] - 1)) do
  sound(list_timer, out, member)
end
return out
