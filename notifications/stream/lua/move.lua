-- Move delayed events that are due into their lanes, the longest due first.
-- needs: bell.lua
--
-- KEYS[1]  delayed events (ZSET)
-- KEYS[2]  their payloads (HASH)
-- KEYS[3]  the lane `live` (STREAM)
-- KEYS[4]  the lane `bulk` (STREAM)
-- KEYS[5]  in-flight states (HASH)
-- ARGV[1]  how many at most
--
-- Returns {moved, milliseconds until the next one is due}; the latter is -1 where none waits. Due is what this server's
-- clock says. Any number of movers may run: what one moved, the next does not find.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lanes = {live = KEYS[3], bulk = KEYS[4]}
local moved = 0
local added = {live = 0, bulk = 0}

for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local parked = redis.call('HGET', KEYS[2], id)
  if parked then
    local name = string.sub(parked, 1, 4)
    local entry = redis.call('XADD', lanes[name], '*', 'event', string.sub(parked, 6))
    redis.call('HSET', KEYS[5], id, 'queued ' .. name .. ' ' .. entry)
    redis.call('HDEL', KEYS[2], id)
    moved = moved + 1
    added[name] = added[name] + 1
  end
  redis.call('ZREM', KEYS[1], id)
end

for name, count in pairs(added) do
  bell.ring(lanes[name], 'workers', count)
end

local following = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if #following == 0 then
  return {moved, -1}
end
return {moved, math.max(0, math.ceil(tonumber(following[2]) - now))}
