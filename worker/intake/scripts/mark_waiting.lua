-- Takes the running mark off messages; those whose process died become suspects.
--
-- KEYS: the node's held hash, its running hash, the suspects.
-- ARGV: how often the process died while each ran alone, or nothing when no process died; the tags.

redis.call('HDEL', KEYS[2], unpack(ARGV, 2))
if ARGV[1] == '' then
  return
end
local deaths = tonumber(ARGV[1])
for i = 2, #ARGV do
  local filed = redis.call('HGET', KEYS[1], ARGV[i])
  if filed then
    local print = redis.sha1hex(string.sub(filed, string.find(filed, '\n', 1, true) + 1))
    local before = tonumber(redis.call('HGET', KEYS[3], print) or -1)
    redis.call('HSET', KEYS[3], print, math.max(before, deaths))
  end
end
redis.call('EXPIRE', KEYS[3], 86400) -- a mark that its message outlived goes in the end
