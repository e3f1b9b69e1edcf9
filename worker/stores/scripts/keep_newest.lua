-- Keeps a value, or ends it, unless a version as new has been here.
--
-- KEYS: the value, its version. ARGV: the version, until when the value lives (milliseconds since 1970; never less than
-- for an older version), the value (empty: it ends here).
-- Returns 1, or 0 and nothing is done when a version as new has been here.
--
-- The version lives as long as any older value may: one that is delivered later still has expired, by the same clock,
-- and PEXPIREAT removes it within this step.

if tonumber(ARGV[1]) <= tonumber(redis.call('GET', KEYS[2]) or 0) then
  return 0
end
-- Deletes first: a Redis that is full refuses a first write that needs memory, and the end of a session must not wait.
redis.call('DEL', KEYS[1])
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[1], ARGV[3])
  redis.call('PEXPIREAT', KEYS[1], ARGV[2])
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('PEXPIREAT', KEYS[2], ARGV[2])
return 1
