-- Take back a value that is still the one that was written: a reservation (see reserve.lua) of what came to nothing.
--
-- KEYS[1]  a STRING
-- ARGV[1]  what was written
--
-- Returns 1, or 0 where it has changed since.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
