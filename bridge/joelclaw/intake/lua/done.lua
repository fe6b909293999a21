-- ARGV: worker, the entry whose outcome is committed, 1 if it was an echo, dropped and counted
-- answer: 0 if somebody else has it now
local removed = redis.call('LREM', MINE, 1, ARGV[2])
if redis.call('EXISTS', MINE) == 0 then
  redis.call('SREM', WORKERS, ME)
end
if removed == 1 and ARGV[3] == '1' then
  redis.call('HINCRBY', INTAKE, 'echoes', 1)
end
return removed
