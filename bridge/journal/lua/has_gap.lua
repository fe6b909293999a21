-- ARGV: tag, position. Entries are only ever trimmed, so a position that is an entry has no gap.
if ARGV[2] == '0-0' then
  local written = tonumber(redis.call('GET', P .. 'events:count') or 0)
  return answer(written > redis.call('XLEN', P .. 'events') and 1 or 0)
end
return answer(#redis.call('XRANGE', P .. 'events', ARGV[2], ARGV[2]) == 0 and 1 or 0)
