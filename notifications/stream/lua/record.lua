-- Settle dead letters that are recorded: their entries leave, and their events are no longer in flight.
--
-- KEYS[1]  dead letters (STREAM)
-- KEYS[2]  in-flight states (HASH)
-- ARGV[1]  the consumer group
-- ARGV[2…] pairs of entry id and event id (may be empty)
--
-- Returns how many entries were settled by this call. The state of an event that was replayed since is another's.
local settled = 0
for i = 2, #ARGV, 2 do
  local entry, id = ARGV[i], ARGV[i + 1]
  settled = settled + redis.call('XACK', KEYS[1], ARGV[1], entry)
  redis.call('XDEL', KEYS[1], entry)
  local mine = 'dead dlq ' .. entry .. ' '
  local state = id ~= '' and redis.call('HGET', KEYS[2], id)
  if state and string.sub(state, 1, #mine) == mine then
    redis.call('HDEL', KEYS[2], id)
  end
end
return settled
