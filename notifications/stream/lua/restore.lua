-- Put back schedules as PostgreSQL has them, where this server lacks them or has an older revision.
-- needs: bell.lua
--
-- KEYS[1]  schedules that wait (ZSET)
-- KEYS[2]  schedules (HASH)
-- KEYS[3]  in-flight states (HASH)
-- ARGV[1]  the deadline, in milliseconds of this server's time: after it the caller holds its lock no more
-- ARGV[2…] four of each schedule: its id, its revision, when it is due (Unix ms; empty: it is over), the schedule
--
-- Returns {'restored', how many} or {'late'}. One that is over goes; one that is in flight is being handled.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  return {'late'}
end

local restored = 0
for i = 2, #ARGV, 4 do
  local id, revision, due, value = unpack(ARGV, i, i + 3)
  local known = redis.call('HGET', KEYS[2], id)
  local here = known and tonumber(string.match(known, '^%a+ (%d+)')) or 0
  local missing = not known and due == ''
  if not missing and here < tonumber(revision) and redis.call('HEXISTS', KEYS[3], id) == 0 then
    if due == '' then
      redis.call('HDEL', KEYS[2], id)
      redis.call('ZREM', KEYS[1], id)
    else
      redis.call('HSET', KEYS[2], id, value)
      redis.call('ZADD', KEYS[1], due, id)
      bell.ring_if_next(KEYS[1], id)
    end
    restored = restored + 1
  end
end
return {'restored', restored}
