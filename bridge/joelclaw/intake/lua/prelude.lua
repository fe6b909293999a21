-- Stands before every script of the intake. All run on joelclaw's own Redis.
-- KEYS: intake, lease, workers, in-flight list of the caller, joelclaw's list, its list
-- `main`, its set of sessions.
-- ARGV[1] is the caller's name. An entry in flight is `<number> <message id> <session> <item>`,
-- numbered in the order of taking, the oldest at the head of its list.
local INTAKE, LEASE, WORKERS, MINE, LIST, MAIN, SESSIONS = unpack(KEYS)
local ME = ARGV[1]
local PREFIX = string.sub(MINE, 1, #MINE - #ME)

local function number_of(entry)
  return tonumber(string.match(entry, '^%d+'))
end

local function item_of(entry)
  return string.match(entry, '^%d+ %S+ %S+ (.*)$')
end

-- Move what other workers have in flight into the caller's list. They hold no lease any more.
local function adopt()
  local others = redis.call('SMEMBERS', WORKERS)
  local entries = redis.call('LRANGE', MINE, 0, -1)
  local adopted = 0
  for _, worker in ipairs(others) do
    if worker ~= ME then
      for _, entry in ipairs(redis.call('LRANGE', PREFIX .. worker, 0, -1)) do
        entries[#entries + 1] = entry
        adopted = adopted + 1
      end
      redis.call('DEL', PREFIX .. worker)
      redis.call('SREM', WORKERS, worker)
    end
  end
  if adopted > 0 then
    table.sort(entries, function(a, b) return number_of(a) < number_of(b) end)
    redis.call('DEL', MINE)
    for _, entry in ipairs(entries) do
      redis.call('RPUSH', MINE, entry)
    end
    redis.call('SADD', WORKERS, ME)
  end
  return entries
end
