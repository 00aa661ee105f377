-- Fill mirrors under leases that still stand ("Scaling Memcache at Facebook", NSDI 2013, section 3.2.1).
--
-- KEYS[1…n]  mirrors (STRING)
-- ARGV[1]    the lease's token
-- ARGV[2]    the mirrors' life, in milliseconds
-- ARGV[3…]   what PostgreSQL said of each: '<version> <unread> <seq>'
--
-- Returns how many were filled. A lease that a commit removed meanwhile fills nothing: what was read may be old.
local lease = 'lease ' .. ARGV[1]
local filled = 0
for i = 1, #KEYS do
  if redis.call('GET', KEYS[i]) == lease then
    redis.call('SET', KEYS[i], ARGV[i + 2], 'PX', ARGV[2])
    filled = filled + 1
  end
end
return filled
