-- Strikes off a node that is gone.
--
-- KEYS: its lease, its held hash, its running hash, the set of nodes. ARGV: the node.
-- Returns 1, or 0 when it lives or still holds something.

if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then
  return 0
end
redis.call('DEL', KEYS[3])
redis.call('SREM', KEYS[4], ARGV[1])
return 1
