-- Looks a cached value up; on a miss exactly one reader is handed the lease to load it.
--
-- KEYS: the value, its lease, the counters.
-- ARGV: the caller's token, how long its lease would last in ms, and 1 when this look counts as a read.
-- Returns the value, or 1 when the caller now holds the lease, or 0 when another reader does.

local value = redis.call('GET', KEYS[1])
if ARGV[3] == '1' then
  -- pcall: a Redis that refuses writes still serves what it has.
  redis.pcall('HINCRBY', KEYS[3], value and 'hits' or 'misses', 1)
end
if value then
  return value
end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 1
end
return 0
