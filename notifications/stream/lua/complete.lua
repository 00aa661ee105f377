-- End a reservation (see reserve.lua): all its events are added.
--
-- KEYS[1]  the idempotency record (STRING)
-- ARGV[1]  fingerprint and answer as they were reserved
--
-- Returns 1, or 0 where the record is another's by now.
local known = redis.call('GET', KEYS[1])
if not known or string.sub(known, 1, 32) .. string.sub(known, 34) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], string.sub(known, 1, 32) .. 'D' .. string.sub(known, 34), 'KEEPTTL')
return 1
