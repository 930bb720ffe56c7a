-- Erases all jobs of one event, or none of them as long as one runs: what is left has to be found again.
--
-- Before this stands what RQ calls its keys: JOB, RESULTS, QUEUE, INTERMEDIATE and EXECUTIONS, each a part of a name, and
-- REGISTRIES, the beginnings of several; and ASIDE, the beginning of what is kept aside of a job.
--
-- KEYS  1      the jobs that RelayWorkers hold
-- ARGV  1      1 if a job that is queued and stands in no queue was left behind by a worker that died. Without it a worker
--              has just taken it and is about to start it; RQ's workers write a job's whole hash when it ends, so erasing
--              it under one would bring it back.
--       then the jobs' ids
-- Gives how many jobs and how many results were erased, and then the ids of the jobs that run.

local stranded_too = ARGV[1] == '1'
local now = redis.call('TIME')[1]
local GONE = 'trafficrelay:erased'

-- Finds an id in a list. An event's jobs stand side by side: a list of 100,000 is read once for all, not once for each.
local near = {}
local function place(list, id)
  local hint = near[list]
  for step = -1, 1, 2 do
    local at = hint and hint + step
    if at and at >= 0 and redis.call('LINDEX', list, at) == id then
      near[list] = at
      return at
    end
  end
  local at = redis.call('LPOS', list, id)
  near[list] = at or hint
  return at
end

local jobs, running = {}, {}
for number = 2, #ARGV do
  local id = ARGV[number]
  local found = redis.call('HMGET', JOB .. id, 'status', 'origin')
  local status, queue = found[1], found[2]
  local job = {id = id, queue = queue, list = queue and QUEUE .. queue}
  job.at = status == 'queued' and queue and place(job.list, id)
  -- A worker that died leaves an execution behind, for some minutes.
  if status == 'started' or redis.call('ZCOUNT', EXECUTIONS .. id, now, '+inf') > 0
    or redis.pcall('HEXISTS', KEYS[1], id) == 1 or queue and redis.call('LPOS', job.list .. INTERMEDIATE, id)
    or status == 'queued' and not job.at and not stranded_too then
    running[#running + 1] = id
  end
  jobs[#jobs + 1] = job
end
if #running > 0 then return {0, 0, unpack(running)} end

local erased, results, lists = 0, 0, {}
for _, job in ipairs(jobs) do
  if job.at then
    redis.call('LSET', job.list, job.at, GONE)
    lists[job.list] = (lists[job.list] or 0) + 1
  end
end
for list, count in pairs(lists) do redis.call('LREM', list, count, GONE) end
for _, job in ipairs(jobs) do
  for _, registry in ipairs(job.queue and REGISTRIES or {}) do redis.pcall('ZREM', registry .. job.queue, job.id) end
  results = results + redis.call('DEL', RESULTS .. job.id)
  erased = erased + redis.call('DEL', JOB .. job.id)
  redis.call('DEL', JOB .. job.id .. ':dependents', JOB .. ':' .. job.id .. ':dependencies', EXECUTIONS .. job.id,
    ASIDE .. job.id)
end
return {erased, results}
