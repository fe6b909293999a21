-- ARGV: tag. answer: for each key that was met and still holds another type than it should: key,
-- found, expected
local out = answer()
for _, noted in ipairs(redis.call('SMEMBERS', P .. 'damaged')) do
  local expected, key = string.match(noted, '^(%a+) (.*)$')
  local found = redis.call('TYPE', key).ok
  if found == expected or found == 'none' then
    redis.call('SREM', P .. 'damaged', noted)
  else
    local n = #out
    out[n + 1], out[n + 2], out[n + 3] = key, found, expected
  end
end
return out
