-- ARGV: tag, position of an entry that was acknowledged, or ''
-- answer: the storage's id, 1 if that entry is there, or was exported and trimmed, and, asked for
-- none, the position of the last one
local storage = redis.call('HGET', P .. 'route', 'storage') or ''
local entry = ARGV[2]
if entry == '' then
  local last = redis.call('XREVRANGE', P .. 'journal', '+', '-', 'COUNT', 1)[1]
  return answer(storage, 1, last and last[1] or '')
end
if #redis.call('XRANGE', P .. 'journal', entry, entry) == 1 then
  return answer(storage, 1, '')
end
local exported = redis.call('GET', P .. 'journal:exported') or '0-0'
return answer(storage, later(entry, exported) and 0 or 1, '')
