-- Hold the lease, unless another does, and adopt what is in flight. ARGV: worker, lease_ms
-- answer: the holder's name, the intake's state, then, if the caller holds it, the entries
local holder = redis.call('GET', LEASE) or ME
local state = redis.call('HGET', INTAKE, 'state') or ''
if holder ~= ME then
  return {holder, state}
end
local why, entries, lists = left_behind()
if why then
  return why
end
write_though_full()
redis.call('SET', LEASE, ME, 'PX', ARGV[2])
adopt(entries, lists)
return answer(ME, state, entries)
