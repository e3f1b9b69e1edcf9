-- Ends a lease, and keeps the value that was loaded under it: only if the lease still stands.
--
-- KEYS: the value, its lease.
-- ARGV: the token of the lease, the value (empty: there is none to keep), how long it lives in ms.
-- Returns 1, or 0 and has changed nothing when the lease ran out, or a writer has dropped the key since.

if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
