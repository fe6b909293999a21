-- Commit one command: every check precedes the first write.
-- ARGV: tag, then as named here, then the effects, each an operation with its arguments:
--   emit EVENT | deliver EVENT | schedule ID AT_MS BODY SET_BY | cancel ID | queue LANE RECORD
--   (deliver: emit, and keep it for the outlet until that has delivered it)
-- answer: status, then for duplicate the id and the done-record, for stale the version that stands
local message_id, fingerprint, idempotency, key = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local expected_seq, expected_id, epoch = ARGV[6], ARGV[7], ARGV[8]
local runtime, reason, at_ms = ARGV[9], ARGV[10], ARGV[11]
local seq, state, entry, done, done_ttl_ms = ARGV[12], ARGV[13], ARGV[14], ARGV[15], ARGV[16]
local timer, set_by, events_keep = ARGV[17], ARGV[18], ARGV[19]

local function settled(id)
  local record = redis.call('GET', P .. 'done:' .. id)
  if record and string.sub(record, 1, #fingerprint + 1) == fingerprint .. ' ' then
    return answer('duplicate', id, record)
  end
  return record and answer('conflict')
end

local before = settled(message_id)
if not before and idempotency ~= '' then
  local first = redis.call('GET', P .. 'idem:' .. idempotency)
  before = first and settled(first)
end
if before then
  return before
end

local fired = key .. '\n' .. timer
if timer ~= '' and redis.call('HGET', P .. 'timer:' .. fired, 'set_by') ~= set_by then
  return answer('timer_gone')
end

local route = redis.call('HMGET', P .. 'route', 'owner', 'fallback', 'epoch')
local version = redis.call('HMGET', P .. 'state:' .. key, 'seq', 'id')
local current_seq, current_id = version[1] or '0', version[2] or ''
local assigned = route[1]
if reason == 'fallback' then
  assigned = route[2]
end
if route[3] ~= epoch or assigned ~= runtime
  or current_seq ~= expected_seq or current_id ~= expected_id then
  return answer('stale', current_seq, current_id)
end

redis.call('HSET', P .. 'state:' .. key, 'seq', seq, 'id', message_id, 'at_ms', at_ms,
  'state', state)
redis.call('XADD', P .. 'journal', '*', 'entry', entry, 'key', key, 'seq', seq)
redis.call('SET', P .. 'done:' .. message_id, done, 'PX', done_ttl_ms)
if idempotency ~= '' then
  redis.call('SET', P .. 'idem:' .. idempotency, message_id, 'PX', done_ttl_ms)
end
if current_seq == '0' then
  redis.call('SADD', P .. 'keys', key)
end
if timer ~= '' then
  drop_timer(fired)
end

local i = 20
while i <= #ARGV do
  local operation = ARGV[i]
  if operation == 'emit' or operation == 'deliver' then
    if operation == 'deliver' then
      redis.call('XADD', P .. 'deliveries', '*', 'event', ARGV[i + 1])
    end
    redis.call('XADD', P .. 'events', 'MAXLEN', '~', events_keep, '*', 'event', ARGV[i + 1])
    redis.call('INCR', P .. 'events:count')
    i = i + 2
  elseif operation == 'queue' then
    append(ARGV[i + 1], ARGV[i + 2])
    i = i + 3
  else
    local member = key .. '\n' .. ARGV[i + 1]
    drop_timer(member)
    if operation == 'schedule' then
      redis.call('ZADD', P .. 'timers', ARGV[i + 2], member)
      redis.call('HSET', P .. 'timer:' .. member, 'body', ARGV[i + 3], 'set_by', ARGV[i + 4])
      i = i + 5
    else
      i = i + 2
    end
  end
end
return answer('committed')
