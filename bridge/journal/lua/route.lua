-- ARGV: tag, owner, fallback or '', 'ensure' (write only if there is none) or 'set'
local route = redis.call('HMGET', P .. 'route', 'owner', 'fallback', 'epoch', 'changed_ms')
if ARGV[4] == 'ensure' and route[1] then
  return answer(route)
end
local epoch, now = (route[3] or 0) + 1, now_ms()
route = {ARGV[2], ARGV[3], string.format('%.0f', epoch), string.format('%.0f', now)}
redis.call('HSET', P .. 'route', 'owner', route[1], 'fallback', route[2], 'epoch', route[3],
  'changed_ms', route[4])
redis.call('RPUSH', P .. 'route:log', table.concat(route, ','))
return answer(route)
