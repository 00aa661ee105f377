-- Settle a batch of one lane of one shard: what was stored leaves, what failed waits for its next attempt, what is dead
-- goes to the dead letters.
-- needs: bell.lua
--
-- KEYS[1]  the lane (STREAM)
-- KEYS[2]  in-flight states (HASH)
-- KEYS[3]  counters (HASH)
-- KEYS[4]  dead letters (STREAM)
-- KEYS[5]  delayed events (ZSET)
-- KEYS[6]  their payloads (HASH)
-- ARGV[1]  the consumer group
-- ARGV[2]  the lane's name
-- ARGV[3]  how many entries were stored, n
-- ARGV[4]  how many failed and are tried again, m
-- ARGV[5…] n entry ids, then n event ids; then four of each failed event: entry id, event id, payload, delay in
--          milliseconds; then seven of each dead event: entry id, event id (may be empty), payload, reason, error,
--          attempts, life
--
-- Returns {stored, failed, dead}: how many of each were settled by this call. An entry that was settled before (by
-- another worker, after a claim) counts nothing and writes nothing.
local lane, inflight, counters, dead_letters, delayed, payloads = unpack(KEYS)
local group, lane_name, n, m = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local stored, failed, dead = 0, 0, 0

if n > 0 then
  stored = redis.call('XACK', lane, group, unpack(ARGV, 5, 4 + n))
  redis.call('XDEL', lane, unpack(ARGV, 5, 4 + n))
  redis.call('HDEL', inflight, unpack(ARGV, 5 + n, 4 + 2 * n))
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function take(entry)
  if redis.call('XACK', lane, group, entry) == 1 then
    redis.call('XDEL', lane, entry)
    return true
  end
end

local first_failed = 5 + 2 * n
local first_dead = first_failed + 4 * m
for i = first_failed, first_dead - 1, 4 do
  local entry, id, payload, delay = unpack(ARGV, i, i + 3)
  if take(entry) then
    local due = string.format('%d', now + delay)
    redis.call('HSET', payloads, id, lane_name .. ' ' .. payload)
    redis.call('ZADD', delayed, due, id)
    bell.ring_if_next(delayed, id)
    redis.call('HSET', inflight, id, 'retrying delayed ' .. due)
    failed = failed + 1
  end
end

for i = first_dead, #ARGV, 7 do
  local entry, id, payload, reason, failure, attempts, life = unpack(ARGV, i, i + 6)
  if take(entry) then
    local letter = redis.call('XADD', dead_letters, '*', 'event', payload, 'id', id, 'reason', reason,
      'error', failure, 'attempts', attempts, 'failed_ms', string.format('%d', now))
    if id ~= '' then
      redis.call('HSET', inflight, id, 'dead dlq ' .. letter .. ' ' .. life)
    end
    dead = dead + 1
  end
end

bell.ring(dead_letters, 'recorders', dead)
for name, count in pairs({stored = stored, retried = failed, dead = dead}) do
  if count > 0 then redis.call('HINCRBY', counters, name, count) end
end
return {stored, failed, dead}
