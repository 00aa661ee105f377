-- Accept events into a lane of one shard: idempotency record, backlog, entries, in-flight state, together or not at all.
--
-- KEYS[1]  the lane (STREAM) to write to
-- KEYS[2]  the shard's other lane (STREAM), which counts towards the backlog
-- KEYS[3]  in-flight states (HASH)
-- KEYS[4]  counters (HASH)
-- KEYS[5]  the idempotency record (STRING), where the request has a key
-- ARGV[1]  the largest backlog of this shard, in entries
-- ARGV[2]  the lane's name
-- ARGV[3]  the request's fingerprint, 32 hex digits   } empty where
-- ARGV[4]  the answer to give again                   } the request
-- ARGV[5]  the record's life, in seconds              } has no key
-- ARGV[6…] pairs of event id and event payload
--
-- Returns {'accepted'}, {'replayed', first answer}, {'conflict'} (same key, other request) or {'full', backlog}.
-- An id that is in flight already is not added again, so a repeated call has one effect.
local record = KEYS[5]
if record then
  local known = redis.call('GET', record)
  if known then
    if string.sub(known, 1, 32) ~= ARGV[3] then
      return {'conflict'}
    end
    return {'replayed', string.sub(known, 34)}
  end
end

local events = (#ARGV - 5) / 2
local backlog = redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2])
if backlog + events > tonumber(ARGV[1]) then
  return {'full', backlog}
end

local accepted = 0
for i = 6, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[3], ARGV[i], '') == 1 then
    local entry = redis.call('XADD', KEYS[1], '*', 'event', ARGV[i + 1])
    redis.call('HSET', KEYS[3], ARGV[i], 'queued ' .. ARGV[2] .. ' ' .. entry)
    accepted = accepted + 1
  end
end
redis.call('HINCRBY', KEYS[4], 'accepted', accepted)
if record then
  redis.call('SET', record, ARGV[3] .. 'D' .. ARGV[4], 'EX', ARGV[5])
end
return {'accepted'}
