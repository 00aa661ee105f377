-- Accept events as accept.lua does, and before that see to it that the caller's API key is as it is known to be, and take
-- them from its rate: all that a request asks, at once. Key and rate are in slots of their own, so this is for a
-- deployment of one shard, which is one server; of several shards, each is asked by itself.
-- needs: rates.lua
-- needs: bell.lua
-- needs: accepting.lua
--
-- KEYS[1…4]    lane, other lane, in-flight states, counters: as for accept.lua
-- KEYS[5]      the API key's mirror (STRING)
-- KEYS[6]      its rate's state (STRING)
-- KEYS[7]      the idempotency record (STRING), where the request has a key
-- ARGV[1…6]    deadline, backlog, lane, fingerprint, answer, the record's life: as for accept.lua
-- ARGV[7]      the mirror, as the caller was let in by
-- ARGV[8…10]   the rate's period in microseconds, p and q: as for rate.lua
-- ARGV[11…]    pairs of event id and event payload
--
-- Returns {'late'}, {'changed'} (the mirror is another one, or none), {'conflict'}, {'full', backlog}, or, with how the
-- rate stands (1 where it has let, or would let, so many pass, or 0; how many are left; microseconds to wait, as rate.lua
-- tells it): {'over', …} (nothing was taken), {'accepted', …}, {'replayed', …, first answer}, {'pending', …, answer}.
-- Nothing is taken but for what is accepted.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  return {'late'}
end
if redis.call('GET', KEYS[5]) ~= ARGV[7] then
  return {'changed'}
end

local now = time[1] * 1000000 + time[2]
local period, p, q = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local keys = {lane = KEYS[1], other = KEYS[2], inflight = KEYS[3], counters = KEYS[4], record = KEYS[7]}
local request = {
  limit = tonumber(ARGV[2]), lane = ARGV[3], fingerprint = ARGV[4], answer = ARGV[5], life = ARGV[6], first = 11,
}
local events = (#ARGV - 10) / 2
local rate = rates.look(KEYS[6], now, period, p, q, events)

local known = accepting.known(keys, request)
if known then
  if known[1] == 'conflict' then
    return known
  end
  local stands = rate.done and rates.look(KEYS[6], now, period, p, q, 0) or rate
  return {known[1], rate.done and 1 or 0, stands.left, stands.wait, known[2]}
end
if not rate.done then
  return {'over', 0, rate.left, rate.wait}
end
local backlog = accepting.full(keys, request, events)
if backlog then
  return {'full', backlog}
end
if events > 0 then
  rates.keep(KEYS[6], now, rate)
end
accepting.add(keys, request)
return {'accepted', 1, rate.left, rate.wait}
