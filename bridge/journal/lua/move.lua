-- Change a move and with it the route, if the epoch still is the one that was read.
-- ARGV: tag, that epoch, the storage's id or '', owner, phase, candidate or '', share, the move's
-- id, its record, what the history says, '1' to drop the evidence there is
-- answer: 1 if it was done
local route = redis.call('HMGET', P .. 'route', 'epoch', 'storage', 'fallback')
if route[1] ~= ARGV[2] or (ARGV[3] ~= '' and route[2] ~= ARGV[3]) then
  return answer(0)
end
local owner, phase, candidate, share = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local epoch, now = string.format('%.0f', route[1] + 1), string.format('%.0f', now_ms())
redis.call('RPUSH', P .. 'move:log', epoch .. ' ' .. now .. ' ' .. ARGV[10])
redis.call('RPUSH', P .. 'route:log', table.concat(
  {owner, route[3], epoch, now, phase, candidate, share}, ','))
redis.call('HSET', P .. 'move', 'id', ARGV[8], 'record', ARGV[9])
redis.call('HSET', P .. 'route', 'owner', owner, 'epoch', epoch, 'changed_ms', now,
  'phase', phase, 'candidate', candidate, 'share', share)
if ARGV[11] == '1' then
  redis.call('DEL', P .. 'move:evidence')
end
return answer(1)
