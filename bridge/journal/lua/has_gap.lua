-- ARGV: tag, position. answer: the storage's id, and of the events after the position: 0 if all
-- are there, 1 if some were trimmed, 2 if the position is not of this stream.
-- Entries are only ever trimmed, so a position that is an entry has no gap.
local events, position = P .. 'events', ARGV[2]
local storage = redis.call('HGET', P .. 'route', 'storage') or ''
if position == '0-0' then
  local written = tonumber(redis.call('GET', P .. 'events:count') or 0) or 0
  return answer(storage, written > redis.call('XLEN', events) and 1 or 0)
end
if #redis.call('XRANGE', events, position, position) == 1 then
  return answer(storage, 0)
end
local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
return answer(storage, first and later(first[1], position) and 1 or 2)
