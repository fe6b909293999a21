-- Write a key's state as its last entry has it. ARGV: tag, key, the version that stands (seq, id),
-- then seq, id, at_ms, state, where its entry is, version of its contract. The next entry has its
-- state whole. answer: 1, 0 if another version stands by now
local state = P .. 'state:' .. ARGV[2]
local standing = redis.call('HMGET', state, 'seq', 'id', 'open')
local seq, id, open = standing[1] or '0', standing[2] or '', standing[3] or ''
if seq ~= ARGV[3] or id ~= ARGV[4] or open ~= '' then
  return answer(0)
end
redis.call('SADD', P .. 'keys', ARGV[2])
redis.call('HSET', state, 'seq', ARGV[5], 'id', ARGV[6], 'at_ms', ARGV[7], 'state', ARGV[8],
  'at', ARGV[9], 'contract', ARGV[10], 'whole', '', 'open', '')
return answer(1)
