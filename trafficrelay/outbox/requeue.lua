-- Puts failed jobs back into their queues: what RQ's `requeue` does, in one step for all of them. They begin anew: they
-- get their retries again, and it is forgotten how many workers died with them.
--
-- Redis does not roll a script back. So a job is pushed first and leaves the failed ones last: whatever is refused in
-- between (a queue's key that is something else, a rule of Redis' access control), it is not lost.
--
-- Before this stands what RQ calls its keys: JOB, QUEUE, QUEUES and FAILED, each the beginning of a name or a name; and
-- ASIDE, the beginning of what is kept aside of a job.
--
-- ARGV  1      the time, as RQ writes it
--       then for each job: its id, how many retries it has, and the seconds before each as RQ writes them; both are empty
--              to leave them as they are
-- Gives how many of them were requeued. Those that are not among the failed any more are passed over.

local requeued = 0
for number = 2, #ARGV, 3 do
  local id, retries, waits = ARGV[number], ARGV[number + 1], ARGV[number + 2]
  local key = JOB .. id
  local found = redis.call('HMGET', key, 'status', 'origin', 'enqueue_at_front')
  local queue, registry = QUEUE .. (found[2] or ''), FAILED .. (found[2] or '')
  if found[1] == 'failed' and found[2] and redis.call('ZSCORE', registry, id) then
    local push, back = 'RPUSH', -1
    if found[3] == '1' then push, back = 'LPUSH', 1 end
    redis.call(push, queue, id)
    local written = redis.pcall('HSET', key, 'status', 'queued', 'enqueued_at', ARGV[1], 'started_at', '', 'ended_at', '')
    if type(written) == 'table' and written['err'] then
      redis.call('LREM', queue, back, id)
      return written
    end
    if retries ~= '' then redis.pcall('HSET', key, 'retries_left', retries, 'retry_intervals', waits) end
    redis.pcall('HDEL', key, 'exc_info', 'number_of_retries', 'trafficrelay_deaths', 'trafficrelay_lost')
    -- RQ gave it the time after which failed jobs go.
    redis.pcall('PERSIST', key)
    redis.pcall('PERSIST', ASIDE .. id)
    redis.pcall('SADD', QUEUES, queue)
    redis.pcall('ZREM', registry, id)
    requeued = requeued + 1
  end
end
return requeued
