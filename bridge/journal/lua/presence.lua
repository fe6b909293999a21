-- Who is there, each under a lease. ARGV: tag, lease_ms, events_keep, the operation that is told who
-- is there ('': none), then of four each:
--   here KEY REF MEMBER   enters or stays; MEMBER is its id and its meta, each as JSON, in two lines
--   gone KEY REF ''
--   who KEY '' ''         asks who is there
-- Whose lease has ended goes too, so many in one call. What changes of a key is one entry of the
-- event stream. answer: for each key that was asked for, key and who is there, as JSON
local lease_ms, events_keep, told = ARGV[2], ARGV[3], ARGV[4]
local AT_ONCE, TOLD_AFTER_MS = 500, 500
local now = now_ms()
local changed, joins, leaves, asked = {}, {}, {}, {}

local function note(list, key, member)
  if not joins[key] then
    changed[#changed + 1], joins[key], leaves[key] = key, {}, {}
  end
  list[key][#list[key] + 1] = member
end

-- In Phoenix's form: by id, in the order of ids.
local function by_id(members)
  local metas, ids, parts = {}, {}, {}
  for _, member in ipairs(members) do
    local id, meta = string.match(member, '^(.-)\n(.*)$')
    if not metas[id] then
      ids[#ids + 1], metas[id] = id, {}
    end
    metas[id][#metas[id] + 1] = meta
  end
  table.sort(ids)
  for n, id in ipairs(ids) do
    parts[n] = id .. ':{"metas":[' .. table.concat(metas[id], ',') .. ']}'
  end
  return '{' .. table.concat(parts, ',') .. '}', ids
end

local function here(key, ref, member)
  redis.call('ZADD', P .. 'presence', now + lease_ms, key .. '\n' .. ref)
  if not redis.call('HGET', P .. 'presence:' .. key, ref) then
    redis.call('HSET', P .. 'presence:' .. key, ref, member)
    note(joins, key, member)
  end
end

local function gone(key, ref)
  local member = redis.call('HGET', P .. 'presence:' .. key, ref)
  if member then
    note(leaves, key, member)
    redis.call('HDEL', P .. 'presence:' .. key, ref)
  end
  redis.call('ZREM', P .. 'presence', key .. '\n' .. ref)
end

for i = 5, #ARGV, 4 do
  local what, key = ARGV[i], ARGV[i + 1]
  if what == 'here' then
    sound(here, key, ARGV[i + 2], ARGV[i + 3])
  elseif what == 'gone' then
    sound(gone, key, ARGV[i + 2])
  else
    asked[#asked + 1] = key
  end
end
for _, ended in ipairs(redis.call('ZRANGEBYSCORE', P .. 'presence', '-inf', now, 'LIMIT', 0,
  AT_ONCE)) do
  sound(gone, string.match(ended, '^(.*)\n(.-)$'))
end

-- One timer of a key: what is told is who is there then, and no more often than it fires.
local function tell(key, position)
  local _, ids = by_id(redis.call('HVALS', P .. 'presence:' .. key))
  local timer, due = key .. '\n' .. 'presence', now + TOLD_AFTER_MS
  local set = redis.call('ZSCORE', P .. 'timers', timer)
  due = string.format('%.0f', math.min(due, tonumber(set) or due))
  redis.call('ZADD', P .. 'timers', due, timer)
  redis.call('DEL', P .. 'timer:' .. timer)
  redis.call('HSET', P .. 'timer:' .. timer, 'set_by', 'presence/' .. position, 'body',
    '{"due_ms":' .. due .. ',"id":"presence","operation":"' .. told .. '","request":{"present":['
    .. table.concat(ids, ',') .. ']},"set_by":"presence/' .. position .. '"}')
end

for _, key in ipairs(changed) do
  local joined, left = by_id(joins[key]), by_id(leaves[key])
  local diff = '{"joins":' .. joined .. ',"leaves":' .. left .. '}'
  local emitted = tonumber(redis.call('GET', P .. 'events:count') or 0) or 0
  local position = redis.call('XADD', P .. 'events', 'MAXLEN', '~', events_keep, '*',
    'presence', key, 'diff', diff)
  redis.call('SET', P .. 'events:count', string.format('%.0f', emitted + 1))
  if told ~= '' then
    sound(tell, key, position)
  end
end
local out = answer()
for _, key in ipairs(asked) do
  out[#out + 1] = key
  out[#out + 1] = by_id(redis.call('HVALS', P .. 'presence:' .. key))
end
return out
