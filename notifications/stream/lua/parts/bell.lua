-- Rings for who waits at a stream and cannot block on it, as it stands in another slot than the others (bells.py): a
-- message to the shard channel that has the stream's own name. Only where nothing waited there before, so that there are
-- never more messages than times that somebody read.
local bell = {}

-- Some entries were just added to a stream with this group.
function bell.ring(stream, group, added)
  if added < 1 then
    return
  end
  local length = redis.call('XLEN', stream)
  if length > added then
    local pending = redis.pcall('XPENDING', stream, group)
    if not pending.err and length - pending[1] > added then
      return
    end
  end
  redis.call('SPUBLISH', stream, '')
end

-- The same of what waits for its time: this one is the next that is due.
function bell.ring_if_next(waiting, id)
  if redis.call('ZRANGE', waiting, 0, 0)[1] == id then
    redis.call('SPUBLISH', waiting, '')
  end
end

-- The same of a stream without a group, of which whoever reads it takes away what it has read.
function bell.ring_if_first(stream, added)
  if added > 0 and redis.call('XLEN', stream) == added then
    redis.call('SPUBLISH', stream, '')
  end
end

