-- Forget changes of schedules that are recorded in PostgreSQL, and the schedules that they ended.
--
-- KEYS[1]  schedules that wait (ZSET)
-- KEYS[2]  schedules (HASH)
-- KEYS[3]  changes of schedules (STREAM)
-- ARGV[1]  how many entries, n
-- ARGV[2…] n entry ids, then ids of schedules that wait no more
--
-- Returns how many entries were removed by this call. A schedule that waits is never forgotten.
local n = tonumber(ARGV[1])
local removed = n > 0 and redis.call('XDEL', KEYS[3], unpack(ARGV, 2, 1 + n)) or 0
for i = 2 + n, #ARGV do
  if not redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
return removed
