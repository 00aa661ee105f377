-- Put chunks of a bulk job into the lane of one shard, and move the job's position on with them.
-- needs: bell.lua
--
-- KEYS[1]  the lane (STREAM)
-- KEYS[2]  the job (HASH)
-- KEYS[3]  counters (HASH)
-- ARGV[1]  who asks; the job is its own for a while, so that two bulk workers do not do the same work
-- ARGV[2]  for how long, in milliseconds
-- ARGV[3]  how many entries the lane may hold
-- ARGV[4]  the position that the chunks begin at
-- ARGV[5]  what all get: an event's JSON
-- ARGV[6…] pairs of recipients, a line each, and how many they are
--
-- Returns {what, position, wait}: what became of it, the job's position then, and for how many milliseconds there is no
-- use in asking again. What is `fanned` (wait: 0, or until the rate lets the next chunk through), `full` (the lane),
-- `held` (by another), `stale` (the chunks do not begin at the position), `paused`, `cancelled` or `gone` (no such job).
-- Only `fanned` has moved the position.
local lane, job = KEYS[1], KEYS[2]
local state, position, rate, due, holder, till, last =
  unpack(redis.call('HMGET', job, 'state', 'position', 'rate', 'due', 'holder', 'until', 'end'))
if not state then
  return {'gone', 0, 0}
end
position, rate, due, last = tonumber(position), tonumber(rate), tonumber(due), tonumber(last or '')
if state ~= 'running' then
  return {state, position, 0}
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local now_ms = math.floor(now / 1000)
if holder and holder ~= ARGV[1] and tonumber(till) > now_ms then
  return {'held', position, tonumber(till) - now_ms}
end
if position ~= tonumber(ARGV[4]) then
  return {'stale', position, 0}
end

-- A chunk that went a little late does not make the next one later: what was missed of the rate is caught up, as far as
-- two tenths of a second go.
local LATENESS, RECUT = 200000, 50
-- No chunk is cut to less than this where there are many shards (bulk/lists.py), however little of the rate is a shard's.
local LEAST = 2
local limit, length = tonumber(ARGV[3]), redis.call('XLEN', lane)
local fanned, chunks, wait = 0, 0, 0
for i = 6, #ARGV, 2 do
  if length >= limit then
    break
  end
  if last and position + fanned + ARGV[i + 1] > last then
    -- It was cancelled, and is only fanned out again as far as it had got. Who cut this learns of that in a moment.
    wait = RECUT
    break
  end
  if rate then
    if due > now then
      wait = math.ceil((due - now) / 1000)
      break
    end
    if tonumber(ARGV[i + 1]) > math.max(LEAST, rate) then
      -- Cut for another rate, before the dial was turned. Who cut it learns of that in a moment.
      wait = RECUT
      break
    end
    due = math.max(due, now - LATENESS) + math.ceil(ARGV[i + 1] * 1000000 / rate)
  end
  redis.call('XADD', lane, '*', 'event', ARGV[5], 'to', ARGV[i])
  fanned, chunks, length = fanned + ARGV[i + 1], chunks + 1, length + 1
end
bell.ring(lane, 'workers', chunks)

position = position + fanned
redis.call('HSET', job, 'position', string.format('%d', position), 'due', string.format('%d', due),
  'holder', ARGV[1], 'until', string.format('%d', now_ms + ARGV[2]))
if fanned == 0 and wait == 0 then
  return {'full', position, 0}
end
if fanned > 0 then
  redis.call('HINCRBY', KEYS[3], 'accepted', fanned)
end
return {'fanned', position, wait}
