-- Take dead events into a lane of one shard again.
--
-- KEYS[1]  the lane (STREAM) to write to
-- KEYS[2]  the shard's other lane (STREAM), which counts towards the backlog
-- KEYS[3]  in-flight states (HASH)
-- ARGV[1]  the largest backlog of this shard, in entries
-- ARGV[2]  the lane's name
-- ARGV[3…] pairs of event id and event payload
--
-- Returns {'readmitted', how many} or {'full', backlog}, and then nothing was added. An event that is in flight, other
-- than dead, is not added again, so a repeated call has one effect.
local backlog = redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2])
if backlog + (#ARGV - 2) / 2 > tonumber(ARGV[1]) then
  return {'full', backlog}
end

local readmitted = 0
for i = 3, #ARGV, 2 do
  local state = redis.call('HGET', KEYS[3], ARGV[i])
  if not state or string.sub(state, 1, 5) == 'dead ' then
    local entry = redis.call('XADD', KEYS[1], '*', 'event', ARGV[i + 1])
    redis.call('HSET', KEYS[3], ARGV[i], 'queued ' .. ARGV[2] .. ' ' .. entry)
    readmitted = readmitted + 1
  end
end
return {'readmitted', readmitted}
