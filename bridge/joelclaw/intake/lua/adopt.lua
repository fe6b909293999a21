-- Hold the lease, unless another does, and adopt what is in flight. ARGV: worker, lease_ms
-- answer: the holder's name, then, if that is the caller, the entries
local holder = redis.call('GET', LEASE) or ME
if holder ~= ME then
  return {holder}
end
redis.call('SET', LEASE, ME, 'PX', ARGV[2])
return {ME, unpack(adopt())}
