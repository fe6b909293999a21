-- Here KEYS[1] is the set of all subsystems. ARGV: tag, a subsystem to add or ''
if ARGV[2] ~= '' then
  redis.call('SADD', KEYS[1], ARGV[2])
end
return answer(redis.call('SMEMBERS', KEYS[1]))
