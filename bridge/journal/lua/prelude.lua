-- Stands before every script. KEYS[1] is the subsystem's prefix with its hash tag; every key a
-- script touches begins with it, so Redis Cluster has them all in one slot. ARGV[1] is the call's
-- tag and comes back as the first member of every answer, so that an answer out of step is seen.
-- JSON passes through as text: cjson would turn [] into {} and round integers.
-- Redis undoes nothing of a script that fails half way, be it that an ACL changed. So `commit`
-- asks for everything before it writes, and elsewhere what adds stands before what removes.
local P = KEYS[1]

-- A key that holds another type than its command takes was written by somebody else. It is named,
-- and noted in `damaged`; whoever goes through many keys goes on without it, by `sound`.
local plain = redis
local redis = {pcall = plain.pcall}

local function damaged(command, key)
  local expected = ({X = 'stream', Z = 'zset', L = 'list', R = 'list', H = 'hash'})[
    string.sub(command, 1, 1)] or command == 'GET' and 'string' or 'set'
  local found = plain.pcall('TYPE', key).ok or 'other type'
  if string.sub(P, -1) == ':' then -- a subsystem's
    plain.pcall('SADD', P .. 'damaged', expected .. ' ' .. key)
  end
  return string.format('WRONGTYPE %s is a %s, expected a %s', key, found, expected)
end

function redis.call(...)
  local result = plain.pcall(...)
  if type(result) == 'table' and result.err then
    if string.find(result.err, 'WRONGTYPE', 1, true) then
      error(damaged(...), 0)
    end
    return plain.call(...) -- it fails again, as Redis words it
  end
  return result
end

-- Call a function that reads before it does anything; false and why if it met a damaged key.
local function sound(read, ...)
  local ok, why = pcall(read, ...)
  if not ok and not (type(why) == 'string' and string.find(why, '^WRONGTYPE')) then
    error(why, 0)
  end
  return ok, why
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function answer(...)
  return {ARGV[1], ...}
end

-- Take so many off the head of a lane and make the next one due.
local function release(lane, count)
  local now = now_ms()
  redis.call('LPOP', P .. 'lane:' .. lane, count)
  redis.call('DEL', P .. 'claim:' .. lane)
  if redis.call('EXISTS', P .. 'lane:' .. lane) == 1 then
    redis.call('ZADD', P .. 'ready', now, lane)
  else
    redis.call('ZREM', P .. 'ready', lane)
  end
end

local function drop_timer(member)
  redis.call('ZREM', P .. 'timers', member)
  redis.call('DEL', P .. 'timer:' .. member)
end

-- `fields` are the pairs that differ between an effect and a timer.
local function bury(id, failures, error, fields)
  local now = now_ms()
  redis.call('HSET', P .. 'dead:' .. id, 'attempts', failures, 'error', error, 'died_ms', now,
    unpack(fields))
  redis.call('ZADD', P .. 'dead', now, id)
end

local function list_timer(out, member)
  local timer = redis.call('HMGET', P .. 'timer:' .. member, 'body', 'attempts', 'error')
  local n = #out
  out[n + 1], out[n + 2], out[n + 3], out[n + 4] = member, timer[1], timer[2] or 0, timer[3] or ''
end

-- Compare positions of entries.
local function parts(position)
  local ms, n = string.match(position, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end

local function later(a, b)
  local a_ms, a_n = parts(a)
  local b_ms, b_n = parts(b)
  return a_ms > b_ms or (a_ms == b_ms and a_n > b_n)
end

-- Say whether there is no whole state at a position any more.
local function trimmed(position)
  local mark = position ~= '' and redis.call('GET', P .. 'journal:trimmed')
  return position == '' or (mark and later(mark, position))
end
