-- ARGV: tag, owner, fallback or '', 'ensure' (write only if there is none), 'set' (not while a move
-- runs) or 'again' (the next epoch of what there is), the storage's id, what the history says of it
-- answer: the route, and 1 if a move runs
local FIELDS = {'owner', 'fallback', 'epoch', 'changed_ms', 'storage', 'phase', 'candidate', 'share'}
local route = redis.call('HMGET', P .. 'route', unpack(FIELDS))
local how, storage = ARGV[4], ARGV[5]
local moving = (route[7] or '') ~= ''
if how == 'ensure' and route[1] then
  if route[5] ~= storage then
    redis.call('HSET', P .. 'route', 'storage', storage)
    route[5] = storage
  end
  return answer(route, 0)
end
if how == 'set' and moving then
  return answer(route, 1)
end
local epoch, now = string.format('%.0f', (route[3] or 0) + 1), string.format('%.0f', now_ms())
if how == 'again' then
  route = {route[1], route[2], epoch, now, storage, route[6] or 'steady', route[7] or '',
    route[8] or '0'}
else
  route = {ARGV[2], ARGV[3], epoch, now, storage, 'steady', '', '0'}
end
if how == 'set' then
  redis.call('RPUSH', P .. 'move:log', epoch .. ' ' .. now .. ' ' .. ARGV[6])
end
redis.call('RPUSH', P .. 'route:log', table.concat(
  {route[1], route[2], epoch, now, route[6], route[7], route[8]}, ','))
redis.call('HSET', P .. 'route', 'owner', route[1], 'fallback', route[2], 'epoch', epoch,
  'changed_ms', now, 'storage', storage, 'phase', route[6], 'candidate', route[7], 'share', route[8])
if how == 'set' then
  redis.call('DEL', P .. 'move')
end
return answer(route, 0)
