-- One round trip of a worker: what its jobs have come to is written, and it gets new ones.
--
-- What is written is what RQ's worker writes, field by field; a test holds the one against the other. Redis does not roll
-- a script back: a job is held (KEYS 1) in the moment in which it leaves its queue, and until all that it has come to is
-- written. Whatever goes wrong in between, whoever looks at the held jobs of this worker finds it.
--
-- KEYS  1 the held jobs: id -> worker:execution      2 the workers and until when each is known to live
--       3 the worker's hash   4 the set of its executions   5 the mark of `rq suspend`   6 the broken jobs
--       then the queues, in the order in which jobs are wanted
-- ARGV  1 the worker's name    2 seconds for which it is known to live   3 the time as RQ writes it
--       4 the time in seconds  5 seconds between its heartbeats          6 seconds its hash lives
--       7 1 if RQ keeps a set of a worker's executions (3.0), 0 if it keeps its current job (2.12)
--       8 a job that goes on, or nothing               9 how many jobs go on
--       10 how many are wanted, at most 1000           11 1 if the queues take turns
--       12 how many of those that go on have seen workers die
--       13 seconds of work that ended                  14 how many jobs ended
--       then for each: how it ended
--         D  by RQ's own bookkeeping                    id, execution, queue
--         F  well                                       id, execution, queue, started, ended, seconds that the result is
--                                                       kept (-1: for ever), the number of what makes the result, these
--       then one execution's id for each wanted job
-- Gives 1  for each that ended: 0 written, 1 not ours any more, 2 it has dependents, which is RQ's business, 3 RQ
--          has not written it, or why not
--       2  1 if the workers are suspended
--       3  the lengths of the parts of the fourth, joined by commas
--       4  for each job: id, the number of its queue, its execution, the number of fields and values, these

local held, leases, worker_key, executions_key, broken = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6]
local worker, now, stamp, interval = ARGV[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local lists_executions, wanted = ARGV[7] == '1', tonumber(ARGV[10])
local at, well = 15, 0

-- Fails before anything is written if one of our own keys holds something else.
redis.call('HLEN', held)
redis.call('HLEN', broken)
redis.call('ZCARD', leases)

local function finish(id, execution, queue, started, ended, ttl, first, last)
  redis.call('HSET', JOB .. id, 'status', 'finished', 'started_at', started, 'ended_at', ended, 'last_heartbeat', ended)
  local results = RESULTS .. id
  redis.call('XADD', results, 'MAXLEN', '~', 10, '*', unpack(ARGV, first, last))
  if ttl > 0 then
    redis.call('EXPIRE', results, ttl)
    redis.call('EXPIRE', JOB .. id, ttl)
    redis.call('ZADD', FINISHED .. queue, math.floor(stamp) + ttl, id)
  else
    redis.call('PERSIST', results)
    redis.call('ZADD', FINISHED .. queue, '+inf', id)
  end
  forget(held, executions_key, id, execution, queue)
end

local outcomes = {}
for number = 1, tonumber(ARGV[14]) do
  local how, id, execution, queue = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local outcome = 0
  at = at + 4
  local started, ended, ttl, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  if how == 'F' then at = at + 4 + count end
  if redis.call('HGET', held, id) ~= worker .. ':' .. execution then
    outcome = 1
    local entry = id .. ':' .. execution
    redis.call('DEL', EXECUTION .. entry)
    redis.call('ZREM', STARTED .. queue, entry)
  elseif how == 'D' then
    -- RQ's entry goes in the same step in which it writes what has become of the job.
    if redis.call('ZSCORE', STARTED .. queue, id .. ':' .. execution) then
      outcome = 3
    else
      redis.call('HDEL', held, id)
    end
  elseif redis.call('EXISTS', JOB .. id .. ':dependents') == 1 then
    outcome = 2
  else
    local fine, wrong = pcall(finish, id, execution, queue, started, ended, ttl, at - count, at - 1)
    if fine then well = well + 1 else outcome = words(wrong) end
  end
  outcomes[number] = outcome
end
if well > 0 then redis.call('HINCRBY', worker_key, 'successful_job_count', well) end
if ARGV[13] ~= '0' then redis.call('HINCRBYFLOAT', worker_key, 'total_working_time', ARGV[13]) end

local suspended = redis.call('EXISTS', KEYS[5]) == 1
local sizes, parts, taken, suspects = {}, {}, 0, tonumber(ARGV[12])

local function give(part)
  parts[#parts + 1] = part
  sizes[#sizes + 1] = #part
end

-- A job is begun here, as RQ's worker begins it, because it has a thread that waits for it.
local function begin(id, place, queue, execution)
  local flat = redis.call('HGETALL', JOB .. id)
  if #flat == 0 then
    redis.call('HDEL', held, id)
    return false  -- somebody deleted it while it was queued
  end
  queue = field(flat, 'origin') or queue
  local timeout = tonumber(field(flat, 'timeout') or 0) or 0
  local ttl = 60 + math.floor(timeout > 0 and math.min(timeout, interval) or interval)
  local entry = id .. ':' .. execution
  local record = {'id', execution, 'created_at', ARGV[4], 'last_heartbeat', ARGV[4], 'worker_name', worker}
  if lists_executions then record[9], record[10] = 'job_id', id end
  redis.call('HSET', EXECUTION .. entry, unpack(record))
  redis.call('EXPIRE', EXECUTION .. entry, ttl)
  redis.call('ZADD', EXECUTIONS .. id, math.floor(stamp) + ttl + 60, execution)
  redis.call('EXPIRE', EXECUTIONS .. id, ttl + 60)
  redis.call('ZADD', STARTED .. queue, math.floor(stamp) + ttl, entry)
  redis.call('HSET', JOB .. id, 'status', 'started', 'started_at', now, 'last_heartbeat', now, 'worker_name', worker)
  if lists_executions then
    redis.call('SADD', executions_key, entry)
    redis.call('PERSIST', JOB .. id)
  end
  give(id)
  give(tostring(place))
  give(execution)
  give(tostring(#flat))
  for _, part in ipairs(flat) do give(part) end
  if (tonumber(field(flat, 'trafficrelay_deaths') or 0) or 0) >= 2 then suspects = suspects + 1 end
  return true
end

-- One that two workers died with runs with no other such beside it, so that the one that kills does it alone.
local function has_to_wait(id)
  if suspects == 0 then return false end
  local deaths = redis.pcall('HGET', JOB .. id, 'trafficrelay_deaths')
  return type(deaths) == 'string' and (tonumber(deaths) or 0) >= 2
end

-- Takes up to so many jobs from one queue. What has to wait goes back to where it was.
local looked = 0
local function take(place, most)
  local key, waiting, got = KEYS[6 + place], {}, 0
  local queue = string.sub(key, #QUEUE + 1)
  while got < most and looked < 1000 do
    local ids = redis.pcall('LPOP', key, most - got)
    if type(ids) ~= 'table' or ids['err'] then break end
    looked = looked + #ids
    for _, id in ipairs(ids) do
      if has_to_wait(id) then
        waiting[#waiting + 1] = id
      else
        local execution, before = ARGV[at + taken], #parts
        redis.call('HSET', held, id, worker .. ':' .. execution)
        local fine, began = pcall(begin, id, place, queue, execution)
        if fine and began then
          got, taken = got + 1, taken + 1
        elseif not fine then
          -- Somebody else wrote into its keys. It is set aside, to be looked at, and not touched any more.
          for last = #parts, before + 1, -1 do parts[last], sizes[last] = nil, nil end
          redis.call('HSET', broken, id, cjson.encode({queue = queue, at = now, why = words(began)}))
          pcall(forget, held, executions_key, id, execution, queue)
          redis.call('HDEL', held, id)
        end
      end
    end
  end
  for last = #waiting, 1, -1 do redis.call('LPUSH', key, waiting[last]) end
  return got
end

if wanted > 0 and not suspended then
  local turns, found = ARGV[11] == '1', 0
  repeat
    found = 0
    for place = 1, #KEYS - 6 do
      if taken < wanted then found = found + take(place, turns and 1 or wanted - taken) end
    end
  until not turns or found == 0 or taken >= wanted
end

local busy = taken + tonumber(ARGV[9]) > 0
redis.call('HSET', worker_key, 'state', busy and 'busy' or suspended and 'suspended' or 'idle', 'last_heartbeat', now)
redis.call('EXPIRE', worker_key, ARGV[6])
if lists_executions then
  redis.call('EXPIRE', executions_key, ARGV[6])
elseif taken > 0 then
  redis.call('HSET', worker_key, 'current_job', parts[1], 'current_job_working_time', 0)
elseif ARGV[8] ~= '' then
  redis.call('HSET', worker_key, 'current_job', ARGV[8])
else
  redis.call('HDEL', worker_key, 'current_job')
end
local clock = redis.call('TIME')
redis.call('ZADD', leases, clock[1] + tonumber(ARGV[2]), worker)
return {outcomes, suspended and 1 or 0, table.concat(sizes, ','), table.concat(parts)}
