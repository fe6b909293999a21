-- ARGV: tag, limit. answer: how many there are, who holds the lease or '', then for each delivery
-- position, event, attempts, error
local out = answer(redis.call('XLEN', P .. 'deliveries'), redis.call('GET', P .. 'outlet') or '')
local head = redis.call('HMGET', P .. 'deliveries:head', 'position', 'attempts', 'error')
local first = redis.call('XRANGE', P .. 'deliveries', '-', '+', 'COUNT', ARGV[2])
for _, entry in ipairs(first or {}) do -- nil for a limit of 0
  local n = #out
  out[n + 1], out[n + 2], out[n + 3], out[n + 4] = entry[1], entry[2][2], 0, ''
  if entry[1] == head[1] then
    out[n + 3], out[n + 4] = head[2] or 0, head[3] or ''
  end
end
return out
