-- Take events from rates, or give them back: a generic cell rate algorithm (GCRA), exact to the event.
--
-- KEYS[n]    a rate's state (STRING): when it is whole again, as `<Unix microseconds> <q-ths of one>`; not there: it is
--            whole. The same key may come more than once
-- ARGV[1]    the deadline, in milliseconds of this server's time: after it the caller has said 503 already
-- ARGV[2]    the rate's period, in microseconds: so far ahead is the time of a rate that has nothing left
-- ARGV[3, 4] p and q: one event takes p/q microseconds, in lowest terms. A whole number of microseconds would lose up to
--            one of them an event
-- ARGV[4+n]  how many events from KEYS[n], all of them or none; less than 0: so many are given back
--
-- Returns {'late'}, or {'done'} and of each key: 1 where it was done, or 0; how many events are left; and for how many
-- microseconds it has to be waited for so many events (where it was not done), or for the rate to be whole again.
--
-- Every number stays below 2^53 and is exact, but for `left` where period * q is more than that (100003/d): one event
-- more or less. What is given back late, when the rate was whole in between, may let as many pass too soon.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  return {'late'}
end
local now = time[1] * 1000000 + time[2]
local period, p, q = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local last = now + period

local function read(key)
  local whole, parts = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  whole, parts = tonumber(whole or 0), tonumber(parts or 0)
  if whole < now then
    return now, 0
  end
  if whole >= last then
    -- More than nothing left cannot be: this server's clock was set back.
    return last, 0
  end
  return whole, parts
end

local function write(key, whole, parts)
  if whole == now and parts == 0 then
    redis.call('DEL', key)
  else
    -- Two more, as both the time and what is left of it may have been cut off.
    local left_ms = math.floor((whole - now) / 1000) + 2
    redis.call('SET', key, string.format('%d %d', whole, parts), 'PX', string.format('%d', left_ms))
  end
end

local answer = {'done'}
for i, key in ipairs(KEYS) do
  local events = tonumber(ARGV[4 + i])
  local whole, parts = read(key)
  local after = parts + events * p
  local after_whole, after_parts = whole + math.floor(after / q), after % q
  local wait = after_whole - last + (after_parts > 0 and 1 or 0)
  local done = events <= 0 or wait <= 0
  if done then
    if after_whole < now then
      after_whole, after_parts = now, 0
    end
    whole, parts = after_whole, after_parts
    wait = whole - now + (parts > 0 and 1 or 0)
    if events ~= 0 then
      write(key, whole, parts)
    end
  end
  answer[#answer + 1] = done and 1 or 0
  answer[#answer + 1] = math.floor(((last - whole) * q - parts) / p)
  answer[#answer + 1] = wait
end
return answer
