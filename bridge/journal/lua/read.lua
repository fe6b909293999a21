-- ARGV: tag, then for each read: key, message id or '', idempotency digest or ''
-- answer: now_ms, route, then for each read: state fields, id of the done message, its done-record
local out = answer(now_ms(), redis.call('HMGET', P .. 'route', 'owner', 'fallback', 'epoch',
  'changed_ms', 'storage', 'phase', 'candidate', 'share'))
for i = 2, #ARGV, 3 do
  local id, record = ARGV[i + 1], false
  if id ~= '' then
    record = redis.call('GET', P .. 'done:' .. id)
  end
  if not record and ARGV[i + 2] ~= '' then
    id = redis.call('GET', P .. 'idem:' .. ARGV[i + 2])
    record = id and redis.call('GET', P .. 'done:' .. id)
  end
  local n = #out
  local state = redis.call('HMGET', P .. 'state:' .. ARGV[i], 'seq', 'id', 'at_ms', 'state',
    'whole', 'whole_seq', 'contract', 'open')
  if table.remove(state) == id then
    record = false -- its commit has not ended
  end
  if state[5] and trimmed(state[5]) then
    state[5] = false
  end
  out[n + 1] = state
  out[n + 2] = id
  out[n + 3] = record
end
return out
