-- Which schedules does this server lack, or have of an older revision than PostgreSQL?
--
-- KEYS[1]  schedules (HASH)
-- ARGV     pairs of a schedule's id and the revision that PostgreSQL has; the revision of one that is over is negative,
--          and is behind only where it is still here, and older
--
-- Returns the ids.
local behind, ids = {}, {}
for i = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local values = redis.call('HMGET', KEYS[1], unpack(ids))
for i, id in ipairs(ids) do
  local revision = tonumber(ARGV[2 * i])
  local here = values[i] and tonumber(string.match(values[i], '^%a+ (%d+)'))
  if here and here < math.abs(revision) or not here and revision > 0 then
    behind[#behind + 1] = id
  end
end
return behind
