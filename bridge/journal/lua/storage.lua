-- The storage's identity. Here KEYS[1] is its hash. ARGV: tag, then one of
--   look
--   ensure FRESH KNOWN WHY: give it the id FRESH if it has none; if the caller knew another one
--     than it has now, keep that, and why it may be so
--   replace EXPECTED FRESH WHY: another id, since what was known of this one is no more
--   accept: somebody has seen why it changed
-- answer: id, made_ms, the id before, why it is another one ('' if that was seen), changed_ms,
-- which form the journal has there ('' for the first)
local what, a, b, c = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local function read()
  local found = redis.call('HMGET', KEYS[1], 'id', 'made_ms', 'before', 'why', 'changed_ms',
    'format')
  for i = 1, 6 do
    found[i] = found[i] or ''
  end
  return found
end

local function change(id, before, why)
  local now = string.format('%.0f', now_ms())
  redis.call('HSET', KEYS[1], 'id', id, 'made_ms', now, 'before', before, 'why', why,
    'changed_ms', before ~= '' and now or '')
end

local found = read()
if what == 'ensure' and found[1] == '' then
  change(a, b, b ~= '' and c or '')
  redis.call('HSET', KEYS[1], 'format', '2')
elseif what == 'ensure' and b ~= '' and b ~= found[1] and b ~= found[3] then
  redis.call('HSET', KEYS[1], 'before', b, 'why', c, 'changed_ms',
    string.format('%.0f', now_ms()))
elseif what == 'replace' and found[1] == a then
  change(b, a, c)
elseif what == 'accept' then
  redis.call('HSET', KEYS[1], 'why', '')
end
return answer(unpack(read()))
