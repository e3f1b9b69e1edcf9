-- Takes messages out of the queues into the node's own hash, in one step.
--
-- KEYS: the lists of the queues, for each priority all queues in this turn's order; then the set of paused ones.
--   Nothing else: Redis 6.2 and 7.0 watch for the caller every key that is named here, later ones what is read.
-- ARGV: the node's lease, its held hash, the suspects, the global prefix, the number of queues, the limit,
--   the lease in ms, the first tag, 1 when the lease is to be renewed even if there is nothing to do, and after how
--   many bytes to stop.
-- Returns {0} when the lease is lost, else {1, {index of the list, raw element, deaths or nil}, …} by rising tags;
--   with 2 in front when it stopped for the bytes.

local lease, held, suspects, prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local width, limit, lease_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local tag, refresh, bytes = tonumber(ARGV[8]), ARGV[9] == '1', tonumber(ARGV[10])
local lists = #KEYS - 1

-- How many of the lists there are. In portions: Lua unpacks no more than about 8,000 values.
local function exist()
  local count = 0
  for from = 1, lists, 1000 do
    count = count + redis.call('EXISTS', unpack(KEYS, from, math.min(from + 999, lists)))
  end
  return count
end

local some = exist() > 0

-- Also the first write of the script. Redis refuses under OOM only a first write that needs memory, so a queue
-- that filled Redis can still be worked off.
if (some or refresh) and redis.call('PEXPIRE', lease, lease_ms) == 0 then
  return {0}
end
if not some then
  return {1}
end

local paused = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[lists + 1])) do
  paused[prefix .. name] = true
end

local got, open = {}, 0
for queue = 1, width do
  if not paused[KEYS[queue]] then
    got[queue] = 0
    open = open + 1
  end
end
if open == 0 then
  return {1}
end

-- Nothing is popped that cannot be filed: whatever would refuse the hash refuses this, with all queues untouched.
-- (Reading first and popping afterwards would do as well, but Redis 6.2 looks for the tail of a list from its head.)
redis.call('HSET', held, tag, '')
local first, taken = tag, {1}

local function pop(at, count)
  -- pcall: somebody's key of another type must not keep the node from the other queues.
  local popped = redis.pcall('RPOP', KEYS[at], count)
  if not popped or popped.err then
    return 0
  end
  local filed = {}
  for _, raw in ipairs(popped) do
    table.insert(filed, tag)
    table.insert(filed, KEYS[at] .. '\n' .. raw)
    table.insert(taken, {at, raw, false})
    tag = tag + 1
    bytes = bytes - #raw
  end
  redis.call('HSET', held, unpack(filed))
  return #popped
end

-- In portions: how large a message is shows only once it has been popped.
local function take(at, count)
  local got = 0
  while got < count do
    if bytes <= 0 then
      taken[1] = 2
      break
    end
    local portion = math.min(count - got, 50)
    local popped = pop(at, portion)
    got = got + popped
    if popped < portion then
      break
    end
  end
  return got
end

local function serve(most)
  for at = 1, lists do
    local queue = (at - 1) % width + 1
    if got[queue] then
      got[queue] = got[queue] + take(at, math.min(most - got[queue], limit + 1 - #taken))
    end
  end
end

serve(math.ceil(limit / open)) -- each queue its share
serve(limit)                    -- and what is left to whoever has more

if #taken == 1 then
  redis.call('HDEL', held, first)
elseif redis.call('HLEN', suspects) > 0 then
  local prints = {}
  for i = 2, #taken do
    prints[i - 1] = redis.sha1hex(taken[i][2])
  end
  for i, deaths in ipairs(redis.call('HMGET', suspects, unpack(prints))) do
    taken[i + 1][3] = deaths
  end
end

-- What was popped is watched no more: look again, so that the next push by anybody else is told.
exist()
return taken
