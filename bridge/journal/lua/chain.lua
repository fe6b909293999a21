-- The entries of a key, the newest first: from a position, or from its last one, back to the state
-- they build on, or to those after a position.
-- ARGV: tag, the key, the position or '', the position after which or '' for the state, how many
-- answer: where to go on, '' at the end, then the entries
local at, after, most = ARGV[3], ARGV[4], tonumber(ARGV[5])
if at == '' then
  at = redis.call('HGET', P .. 'state:' .. ARGV[2], 'at') or ''
end
local out = answer('')
while at ~= '' and (after == '' or later(at, after)) do
  if #out == most + 2 then
    out[2] = at
    break
  end
  local found = redis.call('XRANGE', P .. 'journal', at, at)[1]
  if not found then -- trimmed
    break
  end
  out[#out + 1] = found
  at = found[2][8] or ''
  if after == '' and (found[2][10] or '') == '' then
    break
  end
end
return out
