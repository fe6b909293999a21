-- A claimed call and its attempts; the lane is the effect's id. It stands while its timer does.
-- ARGV: tag, lane, token, timer, activity ('': not one), limit, then one of
--   begin LEASE_MS MAX_ATTEMPTS STREAM EVENT   STREAM '': whoever claimed it runs it; else EVENT is
--     put there, if a service has a lease for the activity. EVENT is of attempt number `attempts`+1
--   keep LEASE_MS
--   later AFTER_MS ERROR ANSWER UNCOUNTED   the attempt is over, or there was none (UNCOUNTED 1);
--     ANSWER: what is still to be told
--   done
-- answer: lost (another has the claim) | gone (the timer does not stand: all is removed) |
--   answered ANSWER | adopted (at a service: somebody else had put it there) | spent ERROR |
--   waits (for one of those that run) | away (no service) | begun |
--   kept ANSWER HEARD_MS SILENT_MS (since the service, and the function, said something) | done
local lane, token, timer, activity, limit = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local what, first = ARGV[7], ARGV[8]
local claim = P .. 'claim:' .. lane
local running, waiting = P .. 'running:' .. activity, P .. 'waiting:' .. activity
local standing = redis.call('HMGET', claim, 'token', 'attempts', 'sent', 'answer', 'error',
  'heard_ms', 'beat_ms', 'stream')
if standing[1] ~= token then
  return answer('lost')
end
local attempts, sent, told = tonumber(standing[2] or 0), standing[3] or '', standing[4] or ''
local error, stream, now = standing[5] or '', standing[8] or '', now_ms()

-- Its place is free: those that waited longest are due, as many as there are places.
local function leave()
  if activity ~= '' then
    redis.call('ZREM', running, lane)
    redis.call('ZREMRANGEBYSCORE', running, '-inf', now)
    local free = limit - redis.call('ZCARD', running)
    local next = free > 0 and redis.call('ZRANGE', waiting, 0, free - 1) or {}
    for _, each in ipairs(next) do
      redis.call('ZADD', P .. 'ready', now, each)
      redis.call('ZREM', waiting, each)
    end
  end
  if sent ~= '' then -- nobody needs to take it any more
    redis.call('XDEL', stream, sent)
  end
end

if what == 'done' or ((what == 'begin' or what == 'keep')
  and redis.call('HGET', P .. 'timer:' .. timer, 'set_by') ~= lane) then
  leave()
  release(lane, 1)
  return answer(what == 'done' and 'done' or 'gone')
end
if what == 'later' then
  leave()
  redis.call('HSET', claim, 'error', ARGV[9], 'answer', ARGV[10], 'sent', '', 'token', '',
    'attempts', attempts - ARGV[11])
  redis.call('ZADD', P .. 'ready', now + first, lane)
  return answer('later')
end

local function stay()
  redis.call('ZADD', P .. 'ready', now + first, lane)
  if activity ~= '' then
    redis.call('ZADD', running, now + first, lane)
  end
end

if what == 'keep' then
  stay()
  local heard = standing[6] and now - standing[6] or -1
  return answer('kept', told, heard, standing[7] and now - standing[7] or heard)
end
if told ~= '' then
  return answer('answered', told)
end
if sent ~= '' then
  stay()
  return answer('adopted')
end
if attempts >= tonumber(ARGV[9]) then
  return answer('spent', error)
end
if activity ~= '' then
  redis.call('ZREMRANGEBYSCORE', running, '-inf', now)
  if not redis.call('ZSCORE', running, lane) and redis.call('ZCARD', running) >= limit then
    -- The oldest first: a lane's name tells nothing of that, its record does.
    local record = redis.call('LINDEX', P .. 'lane:' .. lane, 0)
    redis.call('ZADD', waiting, string.match(record, '"committed_ms":(%d+)') or now, lane)
    redis.call('ZADD', P .. 'ready', '9007199254740991', lane) -- seen there, and claimed by nobody
    return answer('waits')
  end
end
stream = ARGV[10]
if stream ~= '' then
  local services = P .. 'activity:' .. activity
  redis.call('ZREMRANGEBYSCORE', services, '-inf', now)
  if redis.call('ZCARD', services) == 0 then
    return answer('away')
  end
  sent = redis.call('XADD', stream, '*', 'event', ARGV[11])
end
stay()
redis.call('HSET', claim, 'attempts', attempts + 1, 'sent', sent, 'stream', stream)
redis.call('HDEL', claim, 'heard_ms', 'beat_ms')
return answer('begun')
