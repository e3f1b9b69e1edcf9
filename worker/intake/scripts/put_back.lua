-- Puts messages back at the heads of their queues, where the next one is taken from.
--
-- KEYS: the node's held hash, its running hash, the suspects, its lease.
-- ARGV: 1 when the node is dead and not giving back what it has; the tags, the newest first.
-- Returns how many messages were there to put back, or -1 when the dead node lives.

local swept = ARGV[1] == '1'
if swept and redis.call('EXISTS', KEYS[4]) == 1 then
  return -1
end

-- One that ran in a batch is a suspect, and only from now on runs alone; only a death while alone counts.
local function suspect(raw, mark)
  local print = redis.sha1hex(raw)
  local deaths = mark == '-' and 0 or tonumber(mark) + 1
  local before = tonumber(redis.call('HGET', KEYS[3], print) or -1)
  redis.call('HSET', KEYS[3], print, math.max(before, deaths))
  redis.call('EXPIRE', KEYS[3], 86400) -- a mark that its message outlived goes in the end
end

local put = 0
for i = 2, #ARGV do
  local filed = redis.call('HGET', KEYS[1], ARGV[i])
  local mark = redis.call('HGET', KEYS[2], ARGV[i])
  -- The first write, and one that needs no memory: Redis then lets the others through under OOM.
  redis.call('HDEL', KEYS[2], ARGV[i])
  if filed then
    local cut = string.find(filed, '\n', 1, true)
    local raw = string.sub(filed, cut + 1)
    if swept and mark then
      suspect(raw, mark)
    end
    -- pcall: a key of another type in the queue's place must not keep the other messages from theirs.
    if type(redis.pcall('RPUSH', string.sub(filed, 1, cut - 1), raw)) == 'number' then
      redis.call('HDEL', KEYS[1], ARGV[i])
      put = put + 1
    end
  end
end
return put
