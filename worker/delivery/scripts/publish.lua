-- Appends events to the stream and announces them, unless Redis lost what had been published before.
--
-- KEYS: the stream, the hash of turns. ARGV: how many entries the stream keeps, the shard whose turn this is, how many
-- shards there are, the turn of each that PostgreSQL knows; then channel and text of each event.
-- Returns 1; or 0, and nothing is done, when Redis knows less than PostgreSQL.

local shards = tonumber(ARGV[3])
local fields = {}
for shard = 1, shards do
  fields[shard] = shard - 1
end
local turns = redis.call('HMGET', KEYS[2], unpack(fields))
for shard = 1, shards do
  if tonumber(turns[shard] or 0) < tonumber(ARGV[3 + shard]) then
    return 0
  end
end
for at = 4 + shards, #ARGV, 2 do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[at + 1])
  redis.call('PUBLISH', ARGV[at], ARGV[at + 1])
end
-- The turn may have been published before, by a process that died before its commit: it is the same turn still.
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4 + ARGV[2]] + 1)
return 1
