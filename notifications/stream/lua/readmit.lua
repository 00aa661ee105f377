-- Take dead events into a lane of one shard again, each for its next life.
-- needs: bell.lua
--
-- KEYS[1]  the lane (STREAM) to write to
-- KEYS[2]  the shard's other lane (STREAM), which counts towards the backlog
-- KEYS[3]  in-flight states (HASH)
-- ARGV[1]  the deadline, in milliseconds of this server's time: after it the caller has given up
-- ARGV[2]  the largest backlog of this shard, in entries
-- ARGV[3]  the lane's name
-- ARGV[4…] event id, life and event payload of each
--
-- Returns {'readmitted', how many}, {'full', backlog} or {'late'}; in the last two nothing was added. An event that is in
-- flight is not added again, nor one that died in this very life since: a repeated call has one effect.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  return {'late'}
end

local backlog = redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2])
if backlog + (#ARGV - 3) / 3 > tonumber(ARGV[2]) then
  return {'full', backlog}
end

local function is_free(id, life)
  local state = redis.call('HGET', KEYS[3], id)
  local died_in = state and string.match(state, '^dead %S+ %S+ (%d+)$')
  return not state or (died_in and tonumber(died_in) < tonumber(life))
end

local readmitted = 0
for i = 4, #ARGV, 3 do
  local id, life, payload = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if is_free(id, life) then
    local entry = redis.call('XADD', KEYS[1], '*', 'event', payload)
    redis.call('HSET', KEYS[3], id, 'queued ' .. ARGV[3] .. ' ' .. entry)
    readmitted = readmitted + 1
  end
end
bell.ring(KEYS[1], 'workers', readmitted)
return {'readmitted', readmitted}
