-- Try every command of the scripts on keys of its own, which are gone afterwards.
-- answer: name and error of each that is refused
local out = answer()

local function try(command, ...)
  local result = redis.pcall(command, ...)
  if type(result) == 'table' and result.err then
    out[#out + 1], out[#out + 2] = command, result.err
  end
end

try('TIME')
try('SET', P .. 'string', '1', 'PX', 60000)
try('GET', P .. 'string')
try('EXISTS', P .. 'string')
try('TYPE', P .. 'string')
try('HSET', P .. 'hash', 'n', 1)
try('HGET', P .. 'hash', 'n')
try('HGETALL', P .. 'hash')
try('HMGET', P .. 'hash', 'n')
try('HINCRBY', P .. 'hash', 'n', 1)
try('HDEL', P .. 'hash', 'n')
try('RPUSH', P .. 'list', 'a')
try('LLEN', P .. 'list')
try('LINDEX', P .. 'list', 0)
try('LRANGE', P .. 'list', 0, -1)
try('LPOP', P .. 'list')
try('SADD', P .. 'set', 'a')
try('SMEMBERS', P .. 'set')
try('SRANDMEMBER', P .. 'set', 1)
try('SSCAN', P .. 'set', 0)
try('SREM', P .. 'set', 'a')
try('ZADD', P .. 'sorted', 1, 'a')
try('ZRANGE', P .. 'sorted', 0, -1)
try('ZRANGEBYSCORE', P .. 'sorted', 1, 1)
try('ZCARD', P .. 'sorted')
try('ZSCAN', P .. 'sorted', 0)
try('ZREM', P .. 'sorted', 'a')
try('XADD', P .. 'stream', '*', 'a', '')
try('XLEN', P .. 'stream')
try('XRANGE', P .. 'stream', '-', '+')
try('XREVRANGE', P .. 'stream', '+', '-')
try('XREAD', 'STREAMS', P .. 'stream', '0-0')
try('XDEL', P .. 'stream', '0-1')
try('XTRIM', P .. 'stream', 'MAXLEN', 0)
try('DEL', P .. 'string', P .. 'hash', P .. 'list', P .. 'set', P .. 'sorted', P .. 'stream')
return out
