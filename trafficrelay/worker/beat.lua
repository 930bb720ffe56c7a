-- Says that a worker lives and what it runs, as RQ's worker does for its job.
--
-- KEYS  1 the held jobs   2 the workers and until when each is known to live   3 the worker's hash
--       4 the set of its executions
-- ARGV  1 its name   2 seconds for which it is known to live   3 the time as RQ writes it   4 the time in seconds
--       5 seconds its hash lives   6 1 to say it to RQ too, which is asked for less often
--       then for each job that it runs: id, execution, queue, seconds until its next heartbeat has to come, 1 if RQ may have
--       taken it for abandoned, because nobody could say for long that it runs
-- Gives 1 if its hash was gone

local clock = redis.call('TIME')
redis.call('ZADD', KEYS[2], clock[1] + tonumber(ARGV[2]), ARGV[1])
local gone = redis.call('HEXISTS', KEYS[3], 'birth') == 0
redis.call('HSET', KEYS[3], 'last_heartbeat', ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[5])
redis.call('EXPIRE', KEYS[4], ARGV[5])
for at = 7, #ARGV, 5 do
  local id, execution, queue, ttl = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  -- What others have by now is theirs to tell.
  if ARGV[6] == '1' and redis.call('HGET', KEYS[1], id) == ARGV[1] .. ':' .. execution then
    local entry, until_ = id .. ':' .. execution, math.floor(tonumber(ARGV[4])) + ttl
    if redis.call('EXISTS', EXECUTION .. entry) == 1 then
      redis.call('HSET', EXECUTION .. entry, 'last_heartbeat', ARGV[4])
      redis.call('EXPIRE', EXECUTION .. entry, ttl)
    end
    if ARGV[at + 4] == '1' then
      redis.call('ZADD', STARTED .. queue, until_, entry)
      if redis.call('HGET', JOB .. id, 'status') == 'failed' then
        redis.call('ZREM', FAILED .. queue, id)
        redis.call('HSET', JOB .. id, 'status', 'started')
        redis.call('PERSIST', JOB .. id)
      end
    end
    -- Only what is there: of a job that has just ended RQ has taken it away.
    redis.call('ZADD', STARTED .. queue, 'XX', until_, entry)
    redis.call('ZADD', EXECUTIONS .. id, 'XX', until_ + 60, execution)
    redis.call('EXPIRE', EXECUTIONS .. id, ttl + 60)
    -- One that RQ has just deleted must not come back as a hash of one field.
    if redis.call('EXISTS', JOB .. id) == 1 then redis.call('HSET', JOB .. id, 'last_heartbeat', ARGV[3]) end
  end
end
return gone and 1 or 0
