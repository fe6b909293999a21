-- Renew the lease, adopt what dead workers left, take the oldest items while there is room.
-- ARGV: worker, lease_ms, most bytes in flight, a message id for each item that may be in
-- flight; without any only the lease is renewed
-- answer: the intake's state (free, taken, releasing, '' if none is written), whether the caller
-- holds it, its entries
local state = redis.call('HGET', INTAKE, 'state') or ''
local holder = redis.call('GET', LEASE)
if state ~= 'taken' or (holder and holder ~= ME) then
  return {state, holder == ME and 1 or 0}
end
local why, entries, lists = left_behind()
if why then
  return why
end
write_though_full()
redis.call('SET', LEASE, ME, 'PX', ARGV[2])
-- A daemon that ends takes the session's name with it; then writers would fall back to `main`.
redis.call('SADD', SESSIONS, 'gateway')
if #ARGV == 3 then
  return {state, 1}
end
adopt(entries, lists)
local bytes = 0
for _, entry in ipairs(entries) do
  bytes = bytes + #entry
end
local next_id = 4
for _, session in ipairs({'main', 'gateway'}) do
  local list = session == 'main' and MAIN or LIST
  -- At least one, however large: a large one is alone in flight.
  while #entries < #ARGV - 3 and bytes < tonumber(ARGV[3]) and redis.call('LLEN', list) > 0 do
    local number = redis.call('HINCRBY', INTAKE, 'items', 1)
    local entry = string.format('%.0f %s %s ', number, ARGV[next_id], session)
      .. redis.call('RPOP', list)
    next_id = next_id + 1
    redis.call('RPUSH', MINE, entry)
    redis.call('SADD', WORKERS, ME)
    entries[#entries + 1] = entry
    bytes = bytes + #entry
  end
end
return answer(state, 1, entries)
