-- Reserve an idempotency key for a request whose events lie in other shards than its record.
--
-- KEYS[1]  the idempotency record (STRING)
-- ARGV[1]  the request's fingerprint, 32 hex digits
-- ARGV[2]  the answer that this request will give, with the ids it will use
-- ARGV[3]  the record's life, in seconds
--
-- Returns {'reserved'}, {'pending', answer} (somebody began this request: finish it under the ids in the answer),
-- {'replayed', first answer} or {'conflict'}.
local known = redis.call('GET', KEYS[1])
if not known then
  redis.call('SET', KEYS[1], ARGV[1] .. 'P' .. ARGV[2], 'EX', ARGV[3])
  return {'reserved'}
end
if string.sub(known, 1, 32) ~= ARGV[1] then
  return {'conflict'}
end
if string.sub(known, 33, 33) == 'P' then
  return {'pending', string.sub(known, 34)}
end
return {'replayed', string.sub(known, 34)}
