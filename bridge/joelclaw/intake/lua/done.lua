-- ARGV: worker, the entry whose outcome is committed. answer: 0 if somebody else has it now
local removed = redis.call('LREM', MINE, 1, ARGV[2])
if redis.call('EXISTS', MINE) == 0 then
  redis.call('SREM', WORKERS, ME)
end
return removed
