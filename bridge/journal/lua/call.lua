-- One command, tagged as the scripts are. ARGV: tag, the command and its arguments
return answer(redis.call(unpack(ARGV, 2)))
