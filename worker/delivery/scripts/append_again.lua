-- Appends events that Redis had lost, announces none; with the last of them, Redis knows all turns again.
--
-- KEYS: the stream, the hash of turns. ARGV: how many entries the stream keeps, the mark of this recovery, how many
-- turns follow (none, or with the last part those of all shards), the turns; then the text of each event.
-- Returns 1; or 0, and nothing is done, when the mark is gone: Redis lost its data once more.

if redis.call('HGET', KEYS[2], 'recovery') ~= ARGV[2] then
  return 0
end
local turns = tonumber(ARGV[3])
for at = 4 + turns, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[at], 'again', '1')
end
for shard = 1, turns do
  redis.call('HSET', KEYS[2], shard - 1, ARGV[3 + shard])
end
if turns > 0 then
  redis.call('HDEL', KEYS[2], 'recovery')
end
return 1
