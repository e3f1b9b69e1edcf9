-- Strikes messages off: they are done.
--
-- KEYS: the node's held hash, its running hash, the suspects.
-- ARGV: how many of them are suspects, the tags of those, the tags of all.

local suspects = tonumber(ARGV[1])
for i = 2, suspects + 1 do
  local filed = redis.call('HGET', KEYS[1], ARGV[i])
  if filed then
    local raw = string.sub(filed, string.find(filed, '\n', 1, true) + 1)
    redis.call('HDEL', KEYS[3], redis.sha1hex(raw))
  end
end
redis.call('HDEL', KEYS[1], unpack(ARGV, suspects + 2))
redis.call('HDEL', KEYS[2], unpack(ARGV, suspects + 2))
