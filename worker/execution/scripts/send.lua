-- Sends jobs to their queues and numbers them, unless Redis has lost jobs that were sent before.
--
-- KEYS: the counter, the queues. ARGV: the number that PostgreSQL knows, how many messages a queue may hold; then for
-- each job which of the queues, and the message.
-- Returns the number of each job, 0 where its queue takes no more; or nothing, and nothing is done, when Redis knows
-- of fewer sends than PostgreSQL.

-- Also the first write: a Redis that refuses writes refuses this one, with all queues untouched.
local sent = redis.call('INCRBY', KEYS[1], 0)
if sent < tonumber(ARGV[1]) then
  return false
end
local most, numbers = tonumber(ARGV[2]), {}
for at = 3, #ARGV, 2 do
  local queue, number = KEYS[1 + ARGV[at]], 0
  -- pcall: a key of another type in the queue's place must not keep the other jobs from theirs.
  local waiting = redis.pcall('LLEN', queue)
  if type(waiting) == 'number' and waiting < most then
    redis.call('LPUSH', queue, ARGV[at + 1])
    sent = redis.call('INCR', KEYS[1])
    number = sent
  end
  table.insert(numbers, number)
end
return numbers
