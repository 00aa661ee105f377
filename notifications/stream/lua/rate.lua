-- Take events from rates, or give them back.
-- needs: rates.lua
--
-- KEYS[n]    a rate's state (STRING). The same key may come more than once
-- ARGV[1]    the deadline, in milliseconds of this server's time: after it the caller has said 503 already
-- ARGV[2]    the rate's period, in microseconds
-- ARGV[3, 4] p and q: one event takes p/q microseconds, in lowest terms
-- ARGV[4+n]  how many events from KEYS[n], all of them or none; less than 0: so many are given back
--
-- Returns {'late'}, or {'done'} and of each key: 1 where it was done, or 0; how many events are left; and for how many
-- microseconds it has to be waited for so many events (where it was not done), or for the rate to be whole again.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  return {'late'}
end
local now = time[1] * 1000000 + time[2]
local period, p, q = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local answer = {'done'}
for i, key in ipairs(KEYS) do
  local events = tonumber(ARGV[4 + i])
  local state = rates.look(key, now, period, p, q, events)
  if state.done and events ~= 0 then
    rates.keep(key, now, state)
  end
  answer[#answer + 1] = state.done and 1 or 0
  answer[#answer + 1] = state.left
  answer[#answer + 1] = state.wait
end
return answer
