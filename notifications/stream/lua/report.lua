#!lua flags=allow-oom
-- A process tells of itself, and of how long it took for what it did since it last told.
--
-- KEYS[1]  processes (HASH name → '<beat ms> <start ms> <state>\n<report>')
-- KEYS[2]  the present timespan (HASH)
-- KEYS[3]  latencies since the first start (HASH)
-- ARGV[1]  the process' name
-- ARGV[2]  its state, 'alive' or 'stopped'
-- ARGV[3]  how long ago it started, in milliseconds
-- ARGV[4]  its report, JSON
-- ARGV[5]  the life of a timespan, in seconds
-- ARGV[6…] pairs of bucket and count: how many events took so long
--
-- Returns {now, 1 where the timespan has the totals of the counters, else 0}. Now, start and beat are Unix milliseconds
-- of this server's clock.
--
-- It runs in a Redis that is full, too: who works is not dead, and what it writes is bounded, or expires.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HGET', KEYS[1], ARGV[1])
local start = known and string.match(known, '^%d+ (%d+) ') or string.format('%.0f', now - ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s %s\n%s', now, start, ARGV[2], ARGV[4]))
for i = 6, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[2], 'l' .. ARGV[i], ARGV[i + 1])
  redis.call('HINCRBY', KEYS[3], ARGV[i], ARGV[i + 1])
end
if #ARGV > 5 then redis.call('EXPIRE', KEYS[2], ARGV[5]) end
return {now, redis.call('HEXISTS', KEYS[2], 'totals')}
