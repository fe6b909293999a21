-- End the lease, if it is the caller's, and leave what is in flight to whoever adopts it.
-- ARGV: worker
let_go()
return 1
