-- A rate's arithmetic, a generic cell rate algorithm (GCRA), exact to the event; for rate.lua and admit.lua.
--
-- A rate's state (STRING) is when it is whole again, as `<Unix microseconds> <q-ths of one>`; not there: it is whole. Its
-- period is in microseconds: so far ahead is the time of a rate that has nothing left. One event takes p/q microseconds,
-- in lowest terms; a whole number of microseconds would lose up to one of them an event.
--
-- Every number stays below 2^53 and is exact, but for `left` where period * q is more than that (100003/d): one event
-- more or less. What is given back late, when the rate was whole in between, may let as many pass too soon.
local rates = {}

local function read(key, now, last)
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

-- How the rate at `key` stands when so many events are asked of it (all or none; less than 0: given back): whether that
-- can be done; its state after it; how many events are left; and for how many microseconds it has to be waited for so
-- many events (where it cannot), or for the rate to be whole again. Writes nothing.
function rates.look(key, now, period, p, q, events)
  local last = now + period
  local whole, parts = read(key, now, last)
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
  end
  return {done = done, whole = whole, parts = parts, left = math.floor(((last - whole) * q - parts) / p), wait = wait}
end

-- Write a state that `look` has told.
function rates.keep(key, now, state)
  if state.whole == now and state.parts == 0 then
    redis.call('DEL', key)
  else
    -- Two more, as both the time and what is left of it may have been cut off.
    local left_ms = math.floor((state.whole - now) / 1000) + 2
    local text = string.format('%d %d', state.whole, state.parts)
    redis.call('SET', key, text, 'PX', string.format('%d', left_ms))
  end
end

