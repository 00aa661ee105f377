-- What accept.lua and admit.lua share, beside bell.lua. `keys` and `request` are tables of theirs:
--
-- keys.lane, keys.other   the lane (STREAM) to write to, and the shard's other one, which counts towards the backlog
-- keys.inflight           in-flight states (HASH)
-- keys.counters           counters (HASH)
-- keys.record             the idempotency record (STRING), where the request has a key
-- request.limit           the largest backlog of this shard, in entries; -1: as many as come
-- request.lane            the lane's name
-- request.fingerprint     32 hex digits; request.answer: what to give again; request.life: the record's, in seconds
-- request.first           where in ARGV the pairs of event id and payload begin
local accepting = {}

-- What the request's key was used for: {'conflict'} (another request), {'pending', answer} or {'replayed', answer};
-- nil where it has none, or it is new.
function accepting.known(keys, request)
  local known = keys.record and redis.call('GET', keys.record)
  if not known then
    return nil
  end
  if string.sub(known, 1, 32) ~= request.fingerprint then
    return {'conflict'}
  end
  return {string.sub(known, 33, 33) == 'P' and 'pending' or 'replayed', string.sub(known, 34)}
end

-- The backlog where it has no room for so many; else nil.
function accepting.full(keys, request, events)
  local backlog = redis.call('XLEN', keys.lane) + redis.call('XLEN', keys.other)
  return request.limit >= 0 and backlog + events > request.limit and backlog or nil
end

-- Write entries, states, counter and record. An id that is in flight already is not added again, so a repeated call has
-- one effect.
function accepting.add(keys, request)
  local accepted, place = 0, 'queued ' .. request.lane .. ' '
  for i = request.first, #ARGV, 2 do
    if redis.call('HSETNX', keys.inflight, ARGV[i], '') == 1 then
      local entry = redis.call('XADD', keys.lane, '*', 'event', ARGV[i + 1])
      redis.call('HSET', keys.inflight, ARGV[i], place .. entry)
      accepted = accepted + 1
    end
  end
  redis.call('HINCRBY', keys.counters, 'accepted', accepted)
  bell.ring(keys.lane, 'workers', accepted)
  if keys.record then
    redis.call('SET', keys.record, request.fingerprint .. 'D' .. request.answer, 'EX', request.life)
  end
end

