-- A gateway says what it holds: the recipients' sockets, as absolute numbers, for another life. 0 takes it out.
--
-- KEYS[1…n]   presences (HASH gateway → '<expiry ms> <sockets>')
-- ARGV[1]     the gateway's channel
-- ARGV[2]     the life of a gateway's entry, in milliseconds
-- ARGV[3…]    sockets of each recipient
--
-- Returns n. Absolute numbers, so a count that a crash or a lost call left wrong is right again at the next beat.
local time = redis.call('TIME')
local expiry = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
for i = 1, #KEYS do
  local sockets = tonumber(ARGV[i + 2])
  if sockets == 0 then
    redis.call('HDEL', KEYS[i], ARGV[1])
  else
    redis.call('HSET', KEYS[i], ARGV[1], string.format('%.0f %d', expiry, sockets))
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
end
return #KEYS
