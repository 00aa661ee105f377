-- Fire a schedule now, whatever its time: one that fires once is over then, one that comes again waits as before.
-- needs: bell.lua
--
-- KEYS[1]  schedules that wait (ZSET)
-- KEYS[2]  schedules (HASH)
-- KEYS[3]  changes of schedules (STREAM)
-- KEYS[4]  the lane `live` (STREAM)
-- KEYS[5]  in-flight states (HASH)
-- KEYS[6]  counters (HASH)
-- KEYS[7]  the idempotency record (STRING), where the request has a key
-- ARGV[1]  the deadline, in milliseconds of this server's time
-- ARGV[2]  the request's fingerprint, 32 hex digits   } empty where
-- ARGV[3]  the answer to give again                   } the request
-- ARGV[4]  the record's life, in seconds              } has no key
-- ARGV[5]  the schedule's id
-- ARGV[6]  the revision it was seen with
-- ARGV[7]  the schedule as it is then (see schedules.py)
-- ARGV[8]  the event's id: the schedule's own where it fires once
-- ARGV[9]  the event
--
-- Returns {'accepted'}, {'replayed', first answer}, {'conflict'}, {'stale'}, {'over'}, {'unknown'} or {'late'}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[1]) then
  return {'late'}
end

local record = KEYS[7]
if record then
  local first = redis.call('GET', record)
  if first then
    if string.sub(first, 1, 32) ~= ARGV[2] then
      return {'conflict'}
    end
    return {'replayed', string.sub(first, 34)}
  end
end

local id, value, occurrence, payload = ARGV[5], ARGV[7], ARGV[8], ARGV[9]
local known = redis.call('HGET', KEYS[2], id)
if not known then
  return {'unknown'}
end
-- This very call was made before, and its answer was lost.
if known == value then
  return {'accepted'}
end
local score = redis.call('ZSCORE', KEYS[1], id)
if not score then
  return {'over'}
end
if string.match(known, '^%a+ (%d+)') ~= ARGV[6] then
  return {'stale'}
end

local due = ''
if occurrence == id then
  redis.call('ZREM', KEYS[1], id)
else
  due = string.format('%d', score)
end
if redis.call('HSETNX', KEYS[5], occurrence, '') == 1 then
  local entry = redis.call('XADD', KEYS[4], '*', 'event', payload)
  redis.call('HSET', KEYS[5], occurrence, 'queued live ' .. entry)
  redis.call('HINCRBY', KEYS[6], 'accepted', 1)
  redis.call('HINCRBY', KEYS[6], 'fired', 1)
  bell.ring(KEYS[4], 'workers', 1)
end
redis.call('HSET', KEYS[2], id, value)
redis.call('XADD', KEYS[3], '*', 'id', id, 'due', due, 'schedule', value)
bell.ring_if_first(KEYS[3], 1)
if record then
  redis.call('SET', record, ARGV[2] .. 'D' .. ARGV[3], 'EX', ARGV[4])
end
return {'accepted'}
