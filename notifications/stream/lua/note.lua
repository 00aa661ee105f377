#!lua flags=allow-oom
-- Note the totals of the counters in the present timespan. Of several who do at once, the first counts.
--
-- KEYS[1]  the timespan (HASH)
-- ARGV[1]  when they were read (Unix ms) and the totals, parted by blanks
-- ARGV[2]  the life of a timespan, in seconds
--
-- Returns 1 where they are noted, 0 where somebody had noted them.
--
-- It runs in a Redis that is full, too: that is when one looks at what is done.
local noted = redis.call('HSETNX', KEYS[1], 'totals', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return noted
