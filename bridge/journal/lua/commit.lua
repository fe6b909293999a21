-- Commit one command: every check precedes the first write.
-- `whole` is 1 if the entry has the state, not a patch to the one before.
-- `bucket` is the message's, in which a move's candidate owns those below its share.
-- ARGV: tag, then as named here, then the effects, each an operation with its arguments:
--   emit EVENT | deliver EVENT | schedule ID AT_MS BODY SET_BY | cancel ID | queue LANE RECORD
--   (deliver: emit, and keep it for the outlet until that has delivered it)
-- `mended` is '' or the entry of a commit that ended half way: what it did not write is written.
-- answer: status, then for committed the entry's position, for duplicate the id and the
-- done-record, for stale the version that stands, for unfinished the message that did not end
local message_id, fingerprint, idempotency, key = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local expected_seq, expected_id, epoch = ARGV[6], ARGV[7], ARGV[8]
local runtime, reason, at_ms = ARGV[9], ARGV[10], ARGV[11]
local seq, state, entry, done, done_ttl_ms = ARGV[12], ARGV[13], ARGV[14], ARGV[15], ARGV[16]
local timer, set_by, events_keep = ARGV[17], ARGV[18], ARGV[19]
local storage, mended, bucket, whole = ARGV[20], ARGV[21], tonumber(ARGV[22]), ARGV[23] == '1'
local contract = ARGV[24]
local EFFECTS = 25
local ARGUMENTS = {emit = 1, deliver = 1, schedule = 4, cancel = 1, queue = 2}

local function settled(id)
  local record = redis.call('GET', P .. 'done:' .. id)
  if record and string.sub(record, 1, #fingerprint + 1) == fingerprint .. ' ' then
    return answer('duplicate', id, record)
  end
  return record and answer('conflict')
end

local standing = redis.call('HMGET', P .. 'state:' .. key, 'seq', 'id', 'open', 'at', 'whole',
  'whole_seq')
local current_seq, current_id, open = standing[1] or '0', standing[2] or '', standing[3] or ''
local before, base, base_seq = standing[4] or '', standing[5] or '', standing[6] or '0'
local fired = key .. '\n' .. timer
if mended == '' then
  local told = settled(message_id)
  if not told and idempotency ~= '' then
    local first = redis.call('GET', P .. 'idem:' .. idempotency)
    told = first and settled(first)
  end
  if told and told[3] ~= open then
    return told
  end
  if open ~= '' then
    redis.call('SADD', P .. 'unfinished', key)
    return answer('unfinished', open)
  end
  if timer ~= '' and redis.call('HGET', P .. 'timer:' .. fired, 'set_by') ~= set_by then
    return answer('timer_gone')
  end
  local route = redis.call('HMGET', P .. 'route', 'owner', 'fallback', 'epoch', 'storage',
    'candidate', 'share')
  local owner, assigned = route[1], false
  local candidates = (route[5] or '') ~= '' and bucket < tonumber(route[6])
  if reason == 'canary' then
    assigned = candidates and runtime == route[5]
  elseif reason == 'owner' then
    assigned = not candidates and runtime == owner
  else -- whoever stands in: the fallback, and the owner for a candidate
    assigned = runtime == route[2] or (candidates and runtime == owner)
  end
  if route[3] ~= epoch or not assigned or (storage ~= '' and route[4] ~= storage)
    or current_seq ~= expected_seq or current_id ~= expected_id then
    return answer('stale', current_seq, current_id)
  end
  if not whole and trimmed(base) then
    return answer('stale', current_seq, current_id)
  end
elseif open ~= message_id then
  return answer('stale', current_seq, current_id)
end

-- Ask for all that is written below, in forms that change nothing, and that no key is of another
-- type. HSET has no such form, and is the first to write; nor has RPUSH, which is the third.
local now, used, lengths = now_ms(), {}, {}
local i = EFFECTS
while i <= #ARGV do
  local operation = ARGV[i]
  used[operation] = true
  if operation == 'queue' then
    lengths[ARGV[i + 1]] = redis.call('LLEN', P .. 'lane:' .. ARGV[i + 1])
  end
  i = i + 1 + ARGUMENTS[operation]
end
local nothing = P .. 'nothing'
redis.call('XLEN', P .. 'journal')
redis.call('XADD', nothing, 'NOMKSTREAM', '*', '', '')
redis.call('SET', nothing, '', 'XX')
local emitted = 0
if used.emit or used.deliver then
  redis.call('XLEN', P .. 'events')
  emitted = tonumber(redis.call('GET', P .. 'events:count') or 0) or 0
end
if used.deliver then
  redis.call('XLEN', P .. 'deliveries')
end
if timer ~= '' or used.schedule or used.cancel then
  redis.call('ZADD', P .. 'timers', 'XX', 0, '')
  redis.call('ZREM', P .. 'timers', '')
  redis.call('DEL', nothing)
end
if used.queue then
  redis.call('ZADD', P .. 'ready', 'XX', 0, '')
  redis.call('XDEL', nothing, '0-1')
end

-- What was written to a stream by the script that did not end.
local function is_there(stream, text)
  if mended == '' then
    return false
  end
  local from = string.match(mended, '^%d+')
  local found = redis.call('XRANGE', stream, from, string.format('%.0f', from + 1000))
  for _, each in ipairs(found) do
    if each[2][2] == text then
      return true
    end
  end
  return false
end

local function queued(lane, record)
  if mended ~= '' then
    for _, each in ipairs(redis.call('LRANGE', P .. 'lane:' .. lane, 0, -1)) do
      if each == record then
        return true
      end
    end
  end
  return false
end

-- The mark is there until the state is written, last: if ever this ends half way, nobody goes on
-- with the key, and the entry has all that is needed to end it.
if current_seq == '0' then
  redis.call('SADD', P .. 'keys', key)
end
redis.call('HSET', P .. 'state:' .. key, 'open', message_id)
local position = mended
if mended ~= '' then
  whole = redis.call('XRANGE', P .. 'journal', mended, mended)[1][2][10] == ''
else
  position = redis.call('XADD', P .. 'journal', '*', 'entry', entry, 'key', key, 'seq', seq,
    'before', before, 'whole', whole and '' or base)
end
i = EFFECTS
while i <= #ARGV do
  if ARGV[i] == 'queue' then
    local lane = ARGV[i + 1]
    if not queued(lane, ARGV[i + 2]) then
      local pushed = redis.pcall('RPUSH', P .. 'lane:' .. lane, ARGV[i + 2])
      if type(pushed) == 'table' then -- refused, and the first one, or it would not be
        redis.call('XDEL', P .. 'journal', position)
        redis.call('HSET', P .. 'state:' .. key, 'open', '')
        return pushed
      end
    end
    if lengths[lane] == 0 or mended ~= '' then -- else it is in `ready` or held already
      redis.call('ZADD', P .. 'ready', now, lane)
    end
    lengths[lane] = lengths[lane] + 1
  end
  i = i + 1 + ARGUMENTS[ARGV[i]]
end
if timer ~= '' then
  drop_timer(fired)
end
i = EFFECTS
while i <= #ARGV do
  local operation, first = ARGV[i], ARGV[i + 1]
  if operation == 'emit' or operation == 'deliver' then
    if operation == 'deliver' and not is_there(P .. 'deliveries', first) then
      redis.call('XADD', P .. 'deliveries', '*', 'event', first)
    end
    if not is_there(P .. 'events', first) then
      redis.call('XADD', P .. 'events', 'MAXLEN', '~', events_keep, '*', 'event', first)
      emitted = emitted + 1
      redis.call('SET', P .. 'events:count', string.format('%.0f', emitted))
    end
  elseif operation ~= 'queue' then
    local member = key .. '\n' .. first
    drop_timer(member)
    if operation == 'schedule' then
      redis.call('ZADD', P .. 'timers', ARGV[i + 2], member)
      redis.call('HSET', P .. 'timer:' .. member, 'body', ARGV[i + 3], 'set_by', ARGV[i + 4])
    end
  end
  i = i + 1 + ARGUMENTS[operation]
end
if idempotency ~= '' then
  redis.call('SET', P .. 'idem:' .. idempotency, message_id, 'PX', done_ttl_ms)
end
redis.call('SET', P .. 'done:' .. message_id, done, 'PX', done_ttl_ms)
if whole then
  base, base_seq = position, seq
end
redis.call('HSET', P .. 'state:' .. key, 'seq', seq, 'id', message_id, 'at_ms', at_ms,
  'state', state, 'contract', contract, 'at', position, 'whole', base, 'whole_seq', base_seq,
  'open', '')
return answer('committed', position)
