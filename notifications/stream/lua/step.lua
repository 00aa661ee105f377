-- Fire occurrences of schedules that come again, and move each schedule to its next time: compare and set.
-- needs: bell.lua
--
-- KEYS[1]  schedules that wait (ZSET)
-- KEYS[2]  schedules (HASH)
-- KEYS[3]  changes of schedules (STREAM)
-- KEYS[4]  the lane `live` (STREAM)
-- KEYS[5]  in-flight states (HASH)
-- KEYS[6]  counters (HASH)
-- ARGV[1…] seven of each schedule: its id, the time and the revision it was seen with, when it is due next (Unix ms;
--          empty: never again), the schedule as it is then, the occurrence's id (empty: none is fired) and its event
--
-- Returns how many were moved. One that another scheduler moved, or somebody changed or cancelled, is left alone.
local moved, fired = 0, 0
for i = 1, #ARGV, 7 do
  local id, seen_due, seen_revision, due, value, occurrence, payload = unpack(ARGV, i, i + 6)
  local score = redis.call('ZSCORE', KEYS[1], id)
  local known = score and redis.call('HGET', KEYS[2], id)
  if known and tonumber(score) == tonumber(seen_due) and string.match(known, '^%a+ (%d+)') == seen_revision then
    if occurrence ~= '' and redis.call('HSETNX', KEYS[5], occurrence, '') == 1 then
      local entry = redis.call('XADD', KEYS[4], '*', 'event', payload)
      redis.call('HSET', KEYS[5], occurrence, 'queued live ' .. entry)
      fired = fired + 1
    end
    redis.call('HSET', KEYS[2], id, value)
    if due == '' then
      redis.call('ZREM', KEYS[1], id)
    else
      redis.call('ZADD', KEYS[1], due, id)
      bell.ring_if_next(KEYS[1], id)
    end
    redis.call('XADD', KEYS[3], '*', 'id', id, 'due', due, 'schedule', value)
    moved = moved + 1
  end
end
bell.ring_if_first(KEYS[3], moved)
if fired > 0 then
  redis.call('HINCRBY', KEYS[6], 'accepted', fired)
  redis.call('HINCRBY', KEYS[6], 'fired', fired)
  bell.ring(KEYS[4], 'workers', fired)
end
return moved
