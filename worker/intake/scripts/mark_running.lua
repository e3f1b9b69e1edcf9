-- Marks messages as running, if the node's lease holds.
--
-- KEYS: the node's lease, its running hash. ARGV: the lease in ms, the mark, the tags.
-- Returns 1, or 0 when the lease is lost: then nobody knows whose the messages are.

if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local marks = {}
for i = 3, #ARGV do
  table.insert(marks, ARGV[i])
  table.insert(marks, ARGV[2])
end
redis.call('HSET', KEYS[2], unpack(marks))
return 1
