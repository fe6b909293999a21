-- Stands before every script of the intake. All run on joelclaw's own Redis.
-- KEYS: intake, lease, workers, in-flight list of the caller, joelclaw's list, its list
-- `main`, its set of sessions.
-- ARGV[1] is the caller's name. An entry in flight is `<number> <message id> <session> <item>`,
-- numbered in the order of taking, the oldest at the head of its list.
--
-- A script that fails half way is not undone: what may fail is asked before anything is written.
local INTAKE, LEASE, WORKERS, MINE, LIST, MAIN, SESSIONS = unpack(KEYS)
local ME = ARGV[1]
local PREFIX = string.sub(MINE, 1, #MINE - #ME)

local function unexpected(key, expected)
  local kind = redis.call('TYPE', key).ok
  return kind ~= 'none' and kind ~= expected
    and 'WRONGTYPE ' .. key .. ' is a ' .. kind .. ', expected a ' .. expected
end

for i, kind in ipairs({'hash', 'string', 'set', 'list', 'list', 'list', 'set'}) do
  local why = unexpected(KEYS[i], kind)
  if why then
    return redis.error_reply(why)
  end
end

-- A full Redis refuses what needs room, unless the script has written before
-- (scriptVerifyOOM, redis/src/script.c): taking and giving back is what empties it.
local function write_though_full()
  redis.call('SREM', WORKERS, '')
end

local function number_of(entry)
  return tonumber(string.match(entry, '^%d+')) or 0
end

local function item_of(entry)
  return string.match(entry, '^%d+ %S+ %S+ (.*)$') or entry
end

-- Return an error, or what is in flight: the caller's, and what other workers left.
-- They hold no lease any more. `adopt` then moves it to the caller's list.
local function left_behind()
  local entries, lists = redis.call('LRANGE', MINE, 0, -1), {}
  for _, worker in ipairs(redis.call('SMEMBERS', WORKERS)) do
    if worker ~= ME then
      local why = unexpected(PREFIX .. worker, 'list')
      if why then
        return redis.error_reply(why)
      end
      lists[worker] = redis.call('LRANGE', PREFIX .. worker, 0, -1)
    end
  end
  for _, list in pairs(lists) do
    for _, entry in ipairs(list) do
      entries[#entries + 1] = entry
    end
  end
  if next(lists) then
    table.sort(entries, function(a, b) return number_of(a) < number_of(b) end)
  end
  return nil, entries, lists
end

local function adopt(entries, lists)
  if next(lists) then
    redis.call('DEL', MINE)
    for _, entry in ipairs(entries) do
      redis.call('RPUSH', MINE, entry)
    end
    for worker in pairs(lists) do
      redis.call('DEL', PREFIX .. worker)
      redis.call('SREM', WORKERS, worker)
    end
  end
  if #entries > 0 then
    redis.call('SADD', WORKERS, ME)
  end
end

local function answer(first, second, entries)
  local all = {first, second}
  for _, entry in ipairs(entries) do
    all[#all + 1] = entry
  end
  return all
end

local function let_go()
  if redis.call('GET', LEASE) == ME then
    redis.call('DEL', LEASE)
  end
end

