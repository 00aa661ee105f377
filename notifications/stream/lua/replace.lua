-- Replace a value that is still the one that was read.
--
-- KEYS[1]  a STRING
-- ARGV[1]  what was read
-- ARGV[2]  what to write
--
-- Returns 1, or 0 where it has changed since.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
