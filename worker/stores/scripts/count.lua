-- Counts events against a rate limit: a sliding log for each key, on Redis' clock, in the order of the events.
--
-- KEYS: the log of each event; the same log may stand here more than once.
-- ARGV: the limit, the window in µs, then the id of each event.
-- Returns for each event {1 when it is allowed, how many more are, µs until one of the others leaves the window}.

local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- Lua writes a large number with 14 digits only; a time in µs has 16.
local function exact(number)
  return string.format('%.0f', number)
end

local function count(log, id)
  -- The first write needs no memory, so that Redis lets this script through when it is full.
  redis.call('ZREMRANGEBYSCORE', log, '-inf', exact(now - window))
  local counted = redis.call('ZCARD', log)
  if redis.call('ZSCORE', log, id) then
    return {1, math.max(limit - counted, 0), 0}
  end
  if counted < limit then
    redis.call('ZADD', log, exact(now), id)
    redis.call('PEXPIRE', log, math.ceil(window / 1000) + 1)
    return {1, limit - counted - 1, 0}
  end
  -- Not simply the oldest: more than the limit are there when the limit has been lowered.
  local leaves = redis.call('ZRANGE', log, counted - limit, counted - limit, 'WITHSCORES')[2]
  return {0, 0, tonumber(leaves) + window - now}
end

local allowances = {}
for each = 1, #KEYS do
  allowances[each] = count(KEYS[each], ARGV[each + 2])
end
return allowances
