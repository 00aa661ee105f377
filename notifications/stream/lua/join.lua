-- A socket opens: count it towards its gateway, unless the recipient has too many.
--
-- KEYS[1]  the recipient's presence (HASH gateway → '<expiry ms> <sockets>')
-- ARGV[1]  the gateway's channel
-- ARGV[2]  the life of a gateway's entry, in milliseconds
-- ARGV[3]  how many sockets a recipient may have
--
-- Returns the recipient's sockets over all gateways with this one, or 0 when it would be one too many. Entries of
-- gateways that died are dropped on the way.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mine, all = 0, 0
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local expiry, sockets = string.match(entries[i + 1], '^(%d+) (%d+)$')
  if tonumber(expiry) <= now then
    redis.call('HDEL', KEYS[1], entries[i])
  else
    all = all + sockets
    if entries[i] == ARGV[1] then mine = tonumber(sockets) end
  end
end
if all >= tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %d', now + ARGV[2], mine + 1))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return all + 1
