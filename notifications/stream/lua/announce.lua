#!lua flags=allow-oom
-- After a commit: bring the mirrors of n recipients up to date, and say which gateways hold their sockets.
--
-- KEYS[1…n]    the recipients' mirrors (STRING)
-- KEYS[n+1…2n] their presence (HASH gateway → '<expiry ms> <sockets>')
-- ARGV[1]      their inboxes as committed, '<version> <unread> <seq>' each, joined by commas: one argument instead of n
--
-- Returns one flat list: for each recipient with sockets its number (1…n), then its gateways, then ''.
--
-- A mirror that exists is replaced by a newer version, never by an older one. A lease is removed: the reader that
-- holds it may have read PostgreSQL before this commit, so it must not fill. Absent stays absent. Version 0 says that
-- there is no inbox (any more): its mirror goes, as the next inbox of that name begins with version 1.
--
-- It runs in a Redis that is full, too: what stands after it in the worker's batch is what empties Redis.
local n = #KEYS / 2

-- Nobody of them is looked at, most of the time: one look instead of 2n.
if redis.call('EXISTS', unpack(KEYS)) == 0 then
  return {}
end

local mirrors = redis.call('MGET', unpack(KEYS, 1, n))
local i = 0
for inbox in string.gmatch(ARGV[1], '[^,]+') do
  i = i + 1
  local mirror = mirrors[i]
  if mirror then
    local version = tonumber(string.match(mirror, '^%d+'))
    local committed = tonumber(string.match(inbox, '^%d+'))
    if not version or committed == 0 then
      redis.call('DEL', KEYS[i])
    elseif committed > version then
      redis.call('SET', KEYS[i], inbox, 'KEEPTTL')
    end
  end
end

if redis.call('EXISTS', unpack(KEYS, n + 1, 2 * n)) == 0 then
  return {}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reached = {}
for i = 1, n do
  local gateways = redis.call('HGETALL', KEYS[n + i])
  local listed = false
  for j = 1, #gateways, 2 do
    if tonumber(string.match(gateways[j + 1], '^%d+')) > now then
      if not listed then
        reached[#reached + 1] = i
        listed = true
      end
      reached[#reached + 1] = gateways[j]
    end
  end
  if listed then reached[#reached + 1] = '' end
end
return reached
