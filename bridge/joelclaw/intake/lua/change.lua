-- Write the intake's state. ARGV: worker, the new one, now_ms, then the states it may have now,
-- none for any. answer: 1 if it has the new one now, else 0
local state = redis.call('HGET', INTAKE, 'state') or ''
local may = #ARGV == 3 or state == ARGV[2]
for i = 4, #ARGV do
  may = may or state == ARGV[i]
end
if not may then
  return 0
end
if state ~= ARGV[2] then
  write_though_full()
  redis.call('HSET', INTAKE, 'state', ARGV[2], 'since_ms', ARGV[3])
end
return 1
