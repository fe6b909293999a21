-- ARGV: tag, how many. answer: positions of the last entries, the newest first
local out = answer()
for _, entry in ipairs(redis.call('XREVRANGE', P .. 'journal', '+', '-', 'COUNT', ARGV[2])) do
  out[#out + 1] = entry[1]
end
return out
