-- Carry out an order to a bulk job in one shard: go on, stand still, end, or go at another rate.
--
-- KEYS[1]  the job (HASH)
-- ARGV[1]  its state: running, paused or cancelled
-- ARGV[2]  the order's revision
-- ARGV[3]  events a second; empty: no limit
-- ARGV[4]  not looked at: where a job ends is said when it is begun
--
-- Returns how many recipients were fanned out when the order took effect, or -1 where the job is not begun here. An older
-- order than the last one changes nothing.
local revision, rate, position = unpack(redis.call('HMGET', KEYS[1], 'revision', 'rate', 'position'))
if not revision then
  return -1
end
if tonumber(ARGV[2]) > tonumber(revision) then
  redis.call('HSET', KEYS[1], 'state', ARGV[1], 'revision', ARGV[2], 'rate', ARGV[3])
  if rate ~= ARGV[3] then
    -- What was waited for by the old rate is no measure for the new one.
    redis.call('HSET', KEYS[1], 'due', 0)
  end
end
return tonumber(position)
