-- Look at mirrors; where there is none, take a lease to fill it.
--
-- KEYS[1…n]  mirrors (STRING)
-- ARGV[1]    a fresh token
-- ARGV[2]    the mirrors' life, in milliseconds, renewed by each look
-- ARGV[3]    a lease's life, in milliseconds
--
-- Returns n strings: '<version> <unread> <seq>', 'lease' (yours: read PostgreSQL and fill) or 'busy' (another's).
local seen = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  if not seen[i] then
    redis.call('SET', KEYS[i], 'lease ' .. ARGV[1], 'PX', ARGV[3])
    seen[i] = 'lease'
  elseif string.sub(seen[i], 1, 5) == 'lease' then
    seen[i] = 'busy'
  else
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
end
return seen
