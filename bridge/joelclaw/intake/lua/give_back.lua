-- Put the caller's entries back to where the oldest are, and let go of the lease.
-- ARGV: worker, entries that are done and not to be put back. answer: how many were put back
for i = 2, #ARGV do
  redis.call('LREM', MINE, 1, ARGV[i])
end
local given = 0
while true do
  local entry = redis.call('RPOP', MINE)
  if not entry then
    break
  end
  redis.call('RPUSH', LIST, item_of(entry))
  given = given + 1
end
redis.call('SREM', WORKERS, ME)
let_go()
return given
