-- Claim what silent consumers of a group hold in one stream, and what this consumer holds without knowing.
--
-- KEYS[1]  the stream
-- ARGV[1]  the consumer group
-- ARGV[2]  the consumer that claims
-- ARGV[3]  how long an entry was not renewed, in milliseconds, before it may be claimed
-- ARGV[4]  how many at most, of either kind
--
-- Returns a list of {entry id, consumer that held it, delivery count, {field, value, …}}. The delivery counts stay as
-- they are. An entry that is no longer in the stream (somebody deleted it) leaves the pending list.
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local claimed = {}

local function claim(pending)
  for _, row in ipairs(pending) do
    local id = row[1]
    local entry = redis.call('XRANGE', stream, id, id)[1]
    if entry then
      redis.call('XCLAIM', stream, group, consumer, 0, id, 'JUSTID')
      claimed[#claimed + 1] = {id, row[2], row[4], entry[2]}
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
