-- Claim what silent consumers of a group hold in one stream, and what this consumer holds without knowing.
--
-- KEYS[1]  the stream
-- ARGV[1]  the consumer group
-- ARGV[2]  the consumer that claims
-- ARGV[3]  how long an entry was not renewed, in milliseconds, before it may be claimed
-- ARGV[4]  how many at most, of either kind
-- ARGV[5…] consumers that held one entry and no other
--
-- Returns a list of {entry id, deaths, {field, value, …}}: how many consumers died while they handled the entry alone, or
-- -1 where it is as good as new. The delivery count is made 1 then, else 2 + deaths (see group.py). An entry that
-- is no longer in the stream (somebody deleted it) leaves the pending list.
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local alone, claimed = {}, {}
for i = 5, #ARGV do alone[ARGV[i]] = true end

local function deaths_of(owner, count)
  if count >= 2 then
    return count - 2
  end
  -- Who claims its own is alive, and so did not die of it.
  if count == 0 or owner == consumer then
    return -1
  end
  return alone[owner] and 1 or 0
end

local function claim(pending)
  for _, row in ipairs(pending) do
    local id, owner, count = row[1], row[2], row[4]
    local entry = redis.call('XRANGE', stream, id, id)[1]
    if entry then
      local deaths = deaths_of(owner, count)
      -- As good as new is not new for ever: for what was given back, this is the first delivery.
      local marked = deaths < 0 and 1 or 2 + deaths
      redis.call('XCLAIM', stream, group, consumer, 0, id, 'RETRYCOUNT', marked, 'JUSTID')
      claimed[#claimed + 1] = {id, deaths, entry[2]}
    else
      redis.call('XACK', stream, group, id)
    end
  end
end

-- Both lists are taken first: a claimed entry must not come in the second as this consumer's own.
local own = redis.call('XPENDING', stream, group, '-', '+', ARGV[4], consumer)
local silent = redis.call('XPENDING', stream, group, 'IDLE', ARGV[3], '-', '+', ARGV[4])
claim(own)
for i = #silent, 1, -1 do
  if silent[i][2] == consumer then table.remove(silent, i) end
end
claim(silent)
return claimed
