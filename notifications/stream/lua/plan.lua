-- Accept a schedule, once.
-- needs: bell.lua
--
-- KEYS[1]  schedules that wait (ZSET)
-- KEYS[2]  schedules (HASH)
-- KEYS[3]  changes of schedules (STREAM)
-- KEYS[4]  the note that this schedule was cancelled (STRING)
-- KEYS[5]  the idempotency record (STRING), where the request has a key
-- ARGV[1]  the deadline, in milliseconds of this server's time: after it the caller has said 503 already
-- ARGV[2]  the request's fingerprint, 32 hex digits   } empty where
-- ARGV[3]  the answer to give again                   } the request
-- ARGV[4]  the record's life, in seconds              } has no key
-- ARGV[5]  the schedule's id
-- ARGV[6]  when it is due, Unix ms
-- ARGV[7]  the schedule (see schedules.py)
--
-- Returns {'accepted'}, {'replayed', first answer}, {'conflict'} (same key, other request) or {'late'}. An id that is
-- there already is left as it is, so a repeated call has one effect; one that was cancelled since is not made again.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  return {'late'}
end

local record = KEYS[5]
if record then
  local known = redis.call('GET', record)
  if known then
    if string.sub(known, 1, 32) ~= ARGV[2] then
      return {'conflict'}
    end
    return {'replayed', string.sub(known, 34)}
  end
end

local id, due, value = ARGV[5], ARGV[6], ARGV[7]
if redis.call('EXISTS', KEYS[4]) == 0 and redis.call('HSETNX', KEYS[2], id, value) == 1 then
  redis.call('ZADD', KEYS[1], due, id)
  redis.call('XADD', KEYS[3], '*', 'id', id, 'due', due, 'schedule', value)
  bell.ring_if_next(KEYS[1], id)
  bell.ring_if_first(KEYS[3], 1)
end
if record then
  redis.call('SET', record, ARGV[2] .. 'D' .. ARGV[3], 'EX', ARGV[4])
end
return {'accepted'}
