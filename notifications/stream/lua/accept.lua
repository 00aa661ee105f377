-- Accept events into a lane of one shard: idempotency record, backlog, entries, in-flight state, together or not at all.
--
-- KEYS[1]  the lane (STREAM) to write to
-- KEYS[2]  the shard's other lane (STREAM), which counts towards the backlog
-- KEYS[3]  in-flight states (HASH)
-- KEYS[4]  counters (HASH)
-- KEYS[5]  the idempotency record (STRING), where the request has a key
-- ARGV[1]  the deadline, in milliseconds of this server's time: after it the caller has said 503 already
-- ARGV[2]  the largest backlog of this shard, in entries; -1: as many as come
-- ARGV[3]  the lane's name
-- ARGV[4]  the request's fingerprint, 32 hex digits   } empty where
-- ARGV[5]  the answer to give again                   } the request
-- ARGV[6]  the record's life, in seconds              } has no key
-- ARGV[7…] pairs of event id and event payload
--
-- Returns {'accepted'}, {'replayed', first answer}, {'pending', answer} (somebody began this request, with more in other
-- shards: finish it under the ids in the answer), {'conflict'} (same key, other request), {'full', backlog} or {'late'}.
-- An id that is in flight already is not added again, so a repeated call has one effect.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  return {'late'}
end

local record = KEYS[5]
if record then
  local known = redis.call('GET', record)
  if known then
    if string.sub(known, 1, 32) ~= ARGV[4] then
      return {'conflict'}
    end
    return {string.sub(known, 33, 33) == 'P' and 'pending' or 'replayed', string.sub(known, 34)}
  end
end

local events, limit = (#ARGV - 6) / 2, tonumber(ARGV[2])
local backlog = redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2])
if limit >= 0 and backlog + events > limit then
  return {'full', backlog}
end

local accepted = 0
for i = 7, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[3], ARGV[i], '') == 1 then
    local entry = redis.call('XADD', KEYS[1], '*', 'event', ARGV[i + 1])
    redis.call('HSET', KEYS[3], ARGV[i], 'queued ' .. ARGV[3] .. ' ' .. entry)
    accepted = accepted + 1
  end
end
redis.call('HINCRBY', KEYS[4], 'accepted', accepted)
if record then
  redis.call('SET', record, ARGV[4] .. 'D' .. ARGV[5], 'EX', ARGV[6])
end
return {'accepted'}
