-- Settle chunks of bulk jobs in one lane of one shard: each leaves, and those of its events that are no rows yet go back
-- into the lane, each as an entry of its own.
-- needs: bell.lua
--
-- KEYS[1]  the lane (STREAM)
-- KEYS[2]  in-flight states (HASH)
-- KEYS[3]  counters (HASH)
-- ARGV[1]  the consumer group
-- ARGV[2]  the lane's name
-- ARGV[3…] of each chunk: its entry id, how many of its events were stored, how many were not, n; then n pairs of event id
--          and payload
--
-- Returns how many chunks were settled by this call. One that was settled before (by another worker, after a claim)
-- counts nothing and writes nothing.
local lane, inflight, counters = unpack(KEYS)
local group, lane_name = ARGV[1], ARGV[2]
local settled, stored, added = 0, 0, 0
local i = 3
while i <= #ARGV do
  local entry, done, left = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  if redis.call('XACK', lane, group, entry) == 1 then
    redis.call('XDEL', lane, entry)
    settled, stored = settled + 1, stored + done
    for j = i + 3, i + 2 + 2 * left, 2 do
      local id = ARGV[j]
      if redis.call('HSETNX', inflight, id, '') == 1 then
        local own = redis.call('XADD', lane, '*', 'event', ARGV[j + 1])
        redis.call('HSET', inflight, id, 'queued ' .. lane_name .. ' ' .. own)
        added = added + 1
      end
    end
  end
  i = i + 3 + 2 * left
end
bell.ring(lane, group, added)
if stored > 0 then
  redis.call('HINCRBY', counters, 'stored', stored)
end
return settled
