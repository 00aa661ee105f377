-- Fire schedules that are due, the longest due first: those that fire once go into the lane, those that come again are
-- given to the caller, who knows when that is (step.lua).
-- needs: bell.lua
--
-- KEYS[1]  schedules that wait (ZSET)
-- KEYS[2]  schedules (HASH)
-- KEYS[3]  changes of schedules (STREAM)
-- KEYS[4]  the lane `live` (STREAM)
-- KEYS[5]  in-flight states (HASH)
-- KEYS[6]  counters (HASH)
-- ARGV[1]  how many at most
--
-- Returns {fired, milliseconds until the next one is due (-1 where none waits), now, {id, due, schedule, id, …}, {id, …},
-- {late, …}}: the first list is of those that come again, the second of those that this release cannot read, which are
-- put off for a minute, the third of by how many milliseconds those were late that fired. Due is what this server's clock says. Any number of schedulers may run: what one fired, the next does not
-- find. A fired schedule stays in the HASH until its firing is recorded in PostgreSQL.
local PUT_OFF_MS = 60000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
local again, gone, fired, states, unreadable, late = {}, {}, {}, {}, {}, {}
local ids = {}
for i = 1, #due, 2 do ids[#ids + 1] = due[i] end
local values = #ids > 0 and redis.call('HMGET', KEYS[2], unpack(ids)) or {}

for i, id in ipairs(ids) do
  local value = values[i]
  local kind, revision, payload = string.match(value or '', '^(%a+) (%d+)\n[^\n]*\n(.*)$')
  if kind == 'recurring' then
    again[#again + 1] = id
    again[#again + 1] = due[2 * i]
    again[#again + 1] = value
  elseif kind == 'once' then
    gone[#gone + 1] = id
    fired[#fired + 1] = id .. ' ' .. revision
    late[#late + 1] = now - tonumber(due[2 * i])
    -- What is in flight already came back from a record that was behind (restore.lua).
    if redis.call('HEXISTS', KEYS[5], id) == 0 then
      local entry = redis.call('XADD', KEYS[4], '*', 'event', payload)
      states[#states + 1] = id
      states[#states + 1] = 'queued live ' .. entry
    end
  elseif value then
    unreadable[#unreadable + 1] = id
    redis.call('ZADD', KEYS[1], string.format('%d', now + PUT_OFF_MS), id)
  else
    gone[#gone + 1] = id
  end
end

if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end
if #states > 0 then
  redis.call('HSET', KEYS[5], unpack(states))
  redis.call('HINCRBY', KEYS[6], 'accepted', #states / 2)
  bell.ring(KEYS[4], 'workers', #states / 2)
end
if #fired > 0 then
  redis.call('XADD', KEYS[3], '*', 'fired', table.concat(fired, ' '), 'at', string.format('%d', now))
  redis.call('HINCRBY', KEYS[6], 'fired', #fired)
  bell.ring_if_first(KEYS[3], 1)
end

local following = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local next_in = #following > 0 and math.max(0, math.ceil(tonumber(following[2]) - now)) or -1
return {#fired, next_in, now, again, unreadable, late}
