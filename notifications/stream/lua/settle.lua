-- Settle a batch of one lane of one shard: what was stored leaves, what is dead goes to the dead letters.
--
-- KEYS[1]  the lane (STREAM)
-- KEYS[2]  in-flight states (HASH)
-- KEYS[3]  counters (HASH)
-- KEYS[4]  dead letters (STREAM)
-- ARGV[1]  the consumer group
-- ARGV[2]  how many entries were stored, n
-- ARGV[3…] n entry ids, then n event ids, then six of each dead event: entry id, event id (may be empty), payload,
--          reason, error, attempts
--
-- Returns {stored, dead}: how many of each were settled by this call. An entry that was settled before (by another
-- worker, after a claim) counts nothing and writes nothing.
local lane, inflight, counters, dead_letters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, n = ARGV[1], tonumber(ARGV[2])
local stored, dead = 0, 0

if n > 0 then
  stored = redis.call('XACK', lane, group, unpack(ARGV, 3, 2 + n))
  redis.call('XDEL', lane, unpack(ARGV, 3, 2 + n))
  redis.call('HDEL', inflight, unpack(ARGV, 3 + n, 2 + 2 * n))
end

local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
for i = 3 + 2 * n, #ARGV, 6 do
  local entry, id, payload, reason, failure, attempts = unpack(ARGV, i, i + 5)
  if redis.call('XACK', lane, group, entry) == 1 then
    redis.call('XDEL', lane, entry)
    local letter = redis.call('XADD', dead_letters, '*', 'event', payload, 'reason', reason, 'error', failure,
      'attempts', attempts, 'failed_ms', now)
    if id ~= '' then
      redis.call('HSET', inflight, id, 'dead dlq ' .. letter)
    end
    dead = dead + 1
  end
end

if stored > 0 then redis.call('HINCRBY', counters, 'stored', stored) end
if dead > 0 then redis.call('HINCRBY', counters, 'dead', dead) end
return {stored, dead}
