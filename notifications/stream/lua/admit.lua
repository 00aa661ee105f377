-- Accept events as accept.lua does, and before that see to it that the caller's API key is as it is known to be, and take
-- them from its rate: all that a request asks, at once, and all of it or nothing, whichever shards its events are in. Key,
-- rate, record and shards are in slots of their own, so this is for one server; of a cluster, each is asked by itself.
-- needs: rates.lua
-- needs: bell.lua
-- needs: accepting.lua
--
-- KEYS[1]      the API key's mirror (STRING)
-- KEYS[2]      its rate's state (STRING)
-- KEYS[3…]     four of each shard: lane, other lane, in-flight states, counters: as for accept.lua
-- the last     the idempotency record (STRING), where the request has a key
-- ARGV[1…6]    deadline, backlog, lane, fingerprint, answer, the record's life: as for accept.lua
-- ARGV[7]      the mirror, as the caller was let in by
-- ARGV[8…10]   the rate's period in microseconds, p and q: as for rate.lua
-- ARGV[11…]    of each shard, in their order: how many events, then pairs of event id and event payload
--
-- Returns {'late'}, {'changed'} (the mirror is another one, or none), {'conflict'}, {'full', backlog}, or, with how the
-- rate stands (1 where it has let, or would let, so many pass, or 0; how many are left; microseconds to wait, as rate.lua
-- tells it): {'over', …} (nothing was taken), {'accepted', …}, {'replayed', …, first answer}, {'pending', …, answer}.
-- Nothing is taken but for what is accepted.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  return {'late'}
end
if redis.call('GET', KEYS[1]) ~= ARGV[7] then
  return {'changed'}
end

local now = time[1] * 1000000 + time[2]
local period, p, q = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local request = {
  limit = tonumber(ARGV[2]), lane = ARGV[3], fingerprint = ARGV[4], answer = ARGV[5], life = ARGV[6],
}
local record = #KEYS % 4 == 3 and KEYS[#KEYS] or nil
local parts, events, at = {}, 0, 11
for i = 3, #KEYS - 3, 4 do
  local part = {lane = KEYS[i], other = KEYS[i + 1], inflight = KEYS[i + 2], counters = KEYS[i + 3]}
  part.first, part.count = at + 1, tonumber(ARGV[at])
  parts[#parts + 1] = part
  events, at = events + part.count, at + 1 + 2 * part.count
end
local rate = rates.look(KEYS[2], now, period, p, q, events)

local known = accepting.known(record, request)
if known then
  if known[1] == 'conflict' then
    return known
  end
  local stands = rate.done and rates.look(KEYS[2], now, period, p, q, 0) or rate
  return {known[1], rate.done and 1 or 0, stands.left, stands.wait, known[2]}
end
if not rate.done then
  return {'over', 0, rate.left, rate.wait}
end
for _, part in ipairs(parts) do
  local backlog = accepting.full(part, request)
  if backlog then
    return {'full', backlog}
  end
end
if events > 0 then
  rates.keep(KEYS[2], now, rate)
end
for _, part in ipairs(parts) do
  accepting.add(part, request)
end
accepting.remember(record, request)
return {'accepted', 1, rate.left, rate.wait}
