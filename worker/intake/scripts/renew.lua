-- Prolongs a node's lease.
--
-- KEYS: its lease, the set of nodes, its held hash. ARGV: the node, the lease in ms.
-- Returns how many messages it holds, or -1 when the lease is lost.

if redis.call('PEXPIRE', KEYS[1], ARGV[2]) == 0 then
  -- A node leaves the set with the last of its messages: while it is there, what it holds is still its own, and
  -- a Redis that was down for longer than a lease costs nobody his messages.
  if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 0 then
    return -1
  end
  redis.call('SET', KEYS[1], '1', 'PX', ARGV[2])
end
redis.call('SADD', KEYS[2], ARGV[1]) -- somebody may have deleted the set
return redis.call('HLEN', KEYS[3])
