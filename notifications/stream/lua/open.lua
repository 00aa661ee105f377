-- Begin a bulk job in one shard, where it is not begun yet.
--
-- KEYS[1]  the job (HASH)
-- ARGV[1]  its state: running, paused or cancelled
-- ARGV[2]  the revision of the order that says so
-- ARGV[3]  events a second; empty: no limit
-- ARGV[4]  how many of the shard's recipients are to be fanned out; empty: all that there are
--
-- Returns 1, or 0 where it is begun already, and then nothing is changed.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'revision', ARGV[2], 'rate', ARGV[3], 'end', ARGV[4],
  'position', 0, 'due', 0)
return 1
