-- Accept events into a lane of one shard: idempotency record, backlog, entries, in-flight state, together or not at all.
-- needs: bell.lua
-- needs: accepting.lua
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
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  return {'late'}
end

local request = {
  limit = tonumber(ARGV[2]), lane = ARGV[3], fingerprint = ARGV[4], answer = ARGV[5], life = ARGV[6],
}
local part = {
  lane = KEYS[1], other = KEYS[2], inflight = KEYS[3], counters = KEYS[4], first = 7, count = (#ARGV - 6) / 2,
}
local known = accepting.known(KEYS[5], request)
if known then
  return known
end
local backlog = accepting.full(part, request)
if backlog then
  return {'full', backlog}
end
accepting.add(part, request)
accepting.remember(KEYS[5], request)
return {'accepted'}
