-- ARGV: tag, owner, fallback or '', 'ensure' (write only if there is none) or 'set', the
-- storage's id. answer: the route
local FIELDS = {'owner', 'fallback', 'epoch', 'changed_ms', 'storage'}
local route = redis.call('HMGET', P .. 'route', unpack(FIELDS))
local storage = ARGV[5]
if ARGV[4] == 'ensure' and route[1] then
  if route[5] ~= storage then
    redis.call('HSET', P .. 'route', 'storage', storage)
    route[5] = storage
  end
  return answer(route)
end
local epoch, now = (route[3] or 0) + 1, now_ms()
route = {ARGV[2], ARGV[3], string.format('%.0f', epoch), string.format('%.0f', now)}
redis.call('RPUSH', P .. 'route:log', table.concat(route, ','))
redis.call('HSET', P .. 'route', 'owner', route[1], 'fallback', route[2], 'epoch', route[3],
  'changed_ms', route[4], 'storage', storage)
route[5] = storage
return answer(route)
