-- Change a schedule that waits: its time, its content, or its end. Whoever fires it at the same time comes before or
-- after, and this script says which.
-- needs: bell.lua
--
-- KEYS[1]  schedules that wait (ZSET)
-- KEYS[2]  schedules (HASH)
-- KEYS[3]  changes of schedules (STREAM)
-- KEYS[4]  the note that this schedule was cancelled (STRING)
-- ARGV[1]  the deadline, in milliseconds of this server's time
-- ARGV[2]  the schedule's id
-- ARGV[3]  the revision that the change was made from
-- ARGV[4]  when it is due now, Unix ms; empty: it waits no more
-- ARGV[5]  the schedule as it is now (see schedules.py)
-- ARGV[6]  the note's life, in seconds: longer than a request can be repeated
--
-- Returns {'changed'} (also where this very change was made before, by a call whose answer was lost), {'stale'} (it is of another revision by now), {'over'} (it waits no more), {'unknown'} or {'late'}.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  return {'late'}
end

local id, due, value = ARGV[2], ARGV[4], ARGV[5]
local known = redis.call('HGET', KEYS[2], id)
if not known then
  return {'unknown'}
end
if known == value then
  return {'changed'}
end
if not redis.call('ZSCORE', KEYS[1], id) then
  return {'over'}
end
if string.match(known, '^%a+ (%d+)') ~= ARGV[3] then
  return {'stale'}
end
redis.call('HSET', KEYS[2], id, value)
if due == '' then
  redis.call('ZREM', KEYS[1], id)
  redis.call('SET', KEYS[4], '1', 'EX', ARGV[6])
else
  redis.call('ZADD', KEYS[1], due, id)
  bell.ring_if_next(KEYS[1], id)
end
redis.call('XADD', KEYS[3], '*', 'id', id, 'due', due, 'schedule', value)
bell.ring_if_first(KEYS[3], 1)
return {'changed'}
