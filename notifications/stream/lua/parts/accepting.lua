-- What accept.lua and admit.lua share, beside bell.lua. `request` and `part` are tables of theirs:
--
-- request.limit           the largest backlog of a shard, in entries; -1: as many as come
-- request.lane            the lane's name
-- request.fingerprint     32 hex digits; request.answer: what to give again; request.life: the record's, in seconds
-- part.lane, part.other   of a shard: the lane (STREAM) to write to, and the other one, which counts towards the backlog
-- part.inflight           in-flight states (HASH)
-- part.counters           counters (HASH)
-- part.first, part.count  where in ARGV its pairs of event id and payload begin, and how many they are
local accepting = {}

-- What the request's key was used for: {'conflict'} (another request), {'pending', answer} or {'replayed', answer};
-- nil where it is new, or there is none. `record`: the name of the idempotency record (STRING), or nil.
function accepting.known(record, request)
  local known = record and redis.call('GET', record)
  if not known then
    return nil
  end
  if string.sub(known, 1, 32) ~= request.fingerprint then
    return {'conflict'}
  end
  return {string.sub(known, 33, 33) == 'P' and 'pending' or 'replayed', string.sub(known, 34)}
end

-- The backlog where it has no room for a part; else nil.
function accepting.full(part, request)
  local backlog = redis.call('XLEN', part.lane) + redis.call('XLEN', part.other)
  return request.limit >= 0 and backlog + part.count > request.limit and backlog or nil
end

-- Write entries, states and counter. An id that is in flight already is not added again, so a repeated call has one
-- effect.
function accepting.add(part, request)
  local accepted, place = 0, 'queued ' .. request.lane .. ' '
  for i = part.first, part.first + 2 * part.count - 1, 2 do
    if redis.call('HSETNX', part.inflight, ARGV[i], '') == 1 then
      local entry = redis.call('XADD', part.lane, '*', 'event', ARGV[i + 1])
      redis.call('HSET', part.inflight, ARGV[i], place .. entry)
      accepted = accepted + 1
    end
  end
  redis.call('HINCRBY', part.counters, 'accepted', accepted)
  bell.ring(part.lane, 'workers', accepted)
end

-- Write the record of a request that has a key.
function accepting.remember(record, request)
  if record then
    redis.call('SET', record, request.fingerprint .. 'D' .. request.answer, 'EX', request.life)
  end
end

