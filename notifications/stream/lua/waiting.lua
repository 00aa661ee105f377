-- When something is due, in many shards of one server at once (of a cluster, they are in several slots).
--
-- KEYS  what waits in each (ZSET), by when it is due, in Unix milliseconds of this server's clock
--
-- Returns by how many milliseconds the first of each is ahead: 0 where it is due, -1 where none waits.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local waits = {}
for i, name in ipairs(KEYS) do
  local first = redis.call('ZRANGE', name, 0, 0, 'WITHSCORES')
  waits[i] = #first > 0 and math.max(0, math.ceil(tonumber(first[2]) - now)) or -1
end
return waits
