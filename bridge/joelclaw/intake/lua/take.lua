-- Renew the lease, adopt what dead workers left, take the oldest items while there is room.
-- ARGV: worker, lease_ms, a message id for each item that may be in flight
-- answer: the intake's state (free, taken, releasing), whether the caller holds it, its entries
local state = redis.call('HGET', INTAKE, 'state') or 'free'
local holder = redis.call('GET', LEASE)
if state ~= 'taken' or (holder and holder ~= ME) then
  return {state, holder == ME and 1 or 0}
end
redis.call('SET', LEASE, ME, 'PX', ARGV[2])
-- A daemon that ends takes the session's name with it; then writers would fall back to `main`.
redis.call('SADD', SESSIONS, 'gateway')
local entries = adopt()
local next_id = 3
for _, session in ipairs({'main', 'gateway'}) do
  local list = session == 'main' and MAIN or LIST
  while #entries < #ARGV - 2 do
    local item = redis.call('RPOP', list)
    if not item then
      break
    end
    local number = redis.call('HINCRBY', INTAKE, 'items', 1)
    local entry = string.format('%.0f %s %s ', number, ARGV[next_id], session) .. item
    next_id = next_id + 1
    redis.call('RPUSH', MINE, entry)
    entries[#entries + 1] = entry
  end
end
if #entries > 0 then
  redis.call('SADD', WORKERS, ME)
end
return {state, 1, unpack(entries)}
