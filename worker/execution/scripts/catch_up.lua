-- Lets Redis know of all sends that PostgreSQL knows of, once it is written down which of them are lost.
--
-- KEYS: the counter. ARGV: what it was when that was written down, what it is to be.
-- Nothing is done when it is another one: Redis lost its data once more, or somebody else has done this.

if tonumber(redis.call('GET', KEYS[1]) or 0) == tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[2])
end
