-- Remove schedules for good, whatever they are at, and what the log says of them.
--
-- KEYS[1]  schedules that wait (ZSET)
-- KEYS[2]  schedules (HASH)
-- KEYS[3]  changes of schedules (STREAM)
-- KEYS[4…] the note of each schedule that it was cancelled (STRING)
-- ARGV[1]  the notes' life, in seconds: longer than a request can be repeated
-- ARGV[2…] the ids of the schedules, in the order of the notes; then ids of entries of the log
--
-- Returns how many schedules there were. Whoever changes or fires one at the same time finds none.
local notes = #KEYS - 3
local removed = 0
for i = 1, notes do
  local id = ARGV[1 + i]
  redis.call('ZREM', KEYS[1], id)
  removed = removed + redis.call('HDEL', KEYS[2], id)
  redis.call('SET', KEYS[3 + i], '1', 'EX', ARGV[1])
end
for i = 2 + notes, #ARGV do
  redis.call('XDEL', KEYS[3], ARGV[i])
end
return removed
