-- Puts jobs back that a worker holds and does not run: it is dead, or it gives them back.
--
-- KEYS  1 the held jobs   2 the workers and until when each is known to live   3 the set of the worker's executions
--       4 the broken jobs   5 the set of all queues
-- ARGV  1 the worker's name   2 until when it was known to live, as it was seen: nothing is done if it has said since
--       that it lives; or nothing, if the worker itself asks
--       3 the time as RQ writes it   4 the time in seconds   5 with how many deaths a job is not run again
--       6 1 if this is one more   7 seconds for which RQ keeps failed jobs
--       8, 9 why it is not run again, as RQ writes it into a result: too many deaths; it must not run twice and has
--       been begun
--       then for each job: id, execution
-- Gives how many went back, and the ids of those that were failed, of those set aside, and of those that had failed before
--       without the worker having got any further

local held, worker = KEYS[1], ARGV[1]
if ARGV[2] ~= '' and redis.call('ZSCORE', KEYS[2], worker) ~= ARGV[2] then return {0, {}, {}, {}} end

-- Redis looks at the first write whether its memory is full. Then nothing of all this is done.
redis.call('ZADD', KEYS[2], 'XX', 0, '')

local died, back, failed, aside, ended = ARGV[6] == '1', 0, {}, {}, {}
local ENDED = {finished = true, failed = true, canceled = true, stopped = true}

local function fail(id, execution, queue, why, ttl)
  local key = JOB .. id
  ttl = tonumber(ttl or '') or tonumber(ARGV[7])
  redis.call('HSET', key, 'status', 'failed', 'ended_at', ARGV[3])
  redis.call('XADD', RESULTS .. id, 'MAXLEN', '~', 10, '*', 'type', '2', 'worker_name', worker, 'exc_string', why,
    'execution_id', execution, 'execution_ended_at', ARGV[4])
  if ttl > 0 then
    redis.call('EXPIRE', RESULTS .. id, ttl)
    redis.call('EXPIRE', key, ttl)
    redis.call('ZADD', FAILED .. queue, math.floor(tonumber(ARGV[4])) + ttl, id)
  else
    redis.call('ZADD', FAILED .. queue, '+inf', id)
  end
  failed[#failed + 1] = id
end

local function put_back(id, execution)
  local key = JOB .. id
  local fields = redis.call('HMGET', key, 'status', 'origin', 'worker_name', ONCE, DEATHS,
    'failure_ttl', 'data', BEGUN)
  local status, queue = fields[1], fields[2]
  if not fields[7] then
    redis.call('HDEL', held, id)
    return  -- deleted
  end
  if not status or not queue or queue == '' then error('it has no status, or no queue') end
  local runs = redis.call('ZSCORE', STARTED .. queue, id .. ':' .. execution)
  -- RQ takes its entry of the execution away in the same step in which it writes what has become of the job.
  if ENDED[status] or not (runs or (status == 'started' and fields[3] == worker)) then
    forget(held, KEYS[3], id, execution, queue)
    if status == 'failed' then ended[#ended + 1] = id end
    return
  end
  local deaths = (tonumber(fields[5] or 0) or 0) + (died and 1 or 0)
  if died then redis.call('HSET', key, DEATHS, deaths) end
  if fields[4] == '1' and fields[8] == execution then
    fail(id, execution, queue, ARGV[9], fields[6])
  elseif died and deaths >= tonumber(ARGV[5]) then
    fail(id, execution, queue, ARGV[8], fields[6])
  else
    redis.call('LPUSH', QUEUE .. queue, id)
    -- It may have ended well in a worker that died before it could say so; then its argument would go within an hour.
    redis.call('PERSIST', ASIDE .. id)
    redis.call('HSET', key, 'status', 'queued', 'enqueued_at', ARGV[3], 'started_at', '')
    redis.call('SADD', KEYS[5], QUEUE .. queue)
    back = back + 1
  end
  forget(held, KEYS[3], id, execution, queue)
end

-- The last one first: each goes to the front of its queue.
for at = #ARGV - 1, 10, -2 do
  local id, execution = ARGV[at], ARGV[at + 1]
  if redis.call('HGET', held, id) == worker .. ':' .. execution then
    local fine, wrong = pcall(put_back, id, execution)
    if not fine then
      redis.call('HSET', KEYS[4], id, cjson.encode({
        queue = '', at = ARGV[3], why = words(wrong)}))
      redis.call('HDEL', held, id)
      aside[#aside + 1] = id
    end
  end
end
return {back, failed, aside, ended}
