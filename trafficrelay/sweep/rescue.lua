-- Finds out of each of some jobs whether it lies nowhere and no worker has it, and puts those that do back.
--
-- Everything is looked at again here, in the step that writes: whoever has taken the job, put it back or finished it
-- meanwhile has changed its state, and then it is left alone. Redis does not roll a script back: the job is pushed first.
--
-- Before this stands what RQ calls its keys: JOB, RESULTS, QUEUE, QUEUES, INTERMEDIATE, FIRST_SEEN, EXECUTION, EXECUTIONS,
-- WORKER, STARTED, FAILED, and REGISTRIES, the beginnings of those in which a job is where it should be; and ASIDE, that of
-- what is kept aside of a job.
--
-- KEYS  1  the jobs that RelayWorkers hold   2  the broken jobs that are set aside
-- ARGV  1  1 to put back, 0 to look           2  the time as RQ writes it   3  the time in seconds
--       4  with how many deaths a job is not run again
--       5  with how many times that it was lost between its queue and its start
--       6  seconds for which RQ keeps failed jobs
--       7  how many places of a queue are looked at from either end
--       8  the type of a failed result, as RQ writes it
--       9, 10, 11  why it is not run again, as RQ writes it: it must not run twice; too many deaths; lost too often
--       then for each job: its id; how it failed, `abandoned` or `stuck`, or nothing; its state as it was looked at; and
--              why it is set aside as broken, or nothing
-- Gives for each job: what was found or done, and its state
--       lost, died, abandoned, stuck   (looking) it lies nowhere
--       back, failed, aside            (putting back)
--       fine                           it is where it should be, or somebody has it
--       changed                        its state is another than it was
--       broken                         it cannot be read
--       anything else                  Redis does not take the writes, and why

local act, stamp, seconds, places = ARGV[1] == '1', ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[7])
local now = tonumber(redis.call('TIME')[1])

-- The started registry of a queue, read once: execution's entries by job. One that is huge is not read: then what RQ
-- keeps for each job has to do.
local MOST = 5000
local started = {}
local function entries_of(id, queue)
  if not started[queue] then
    local by_job, key = {}, STARTED .. queue
    local all = redis.call('ZCARD', key) <= MOST and redis.call('ZRANGE', key, 0, -1)
      or redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, MOST)
    for _, entry in ipairs(all) do
      local job = string.match(entry, '^(.*):')
      if job then
        by_job[job] = by_job[job] or {}
        table.insert(by_job[job], entry)
      end
    end
    started[queue] = by_job
  end
  local entries = {unpack(started[queue][id] or {})}
  for _, execution in ipairs(redis.call('ZRANGE', EXECUTIONS .. id, 0, -1)) do
    entries[#entries + 1] = id .. ':' .. execution
  end
  return entries
end

local function is_run(id, queue)
  for _, entry in ipairs(entries_of(id, queue)) do
    local until_ = redis.call('ZSCORE', STARTED .. queue, entry)
    if until_ and tonumber(until_) >= now then return true end
  end
  return false
end

-- In long queues not every place is looked at: that a job is in none of them was found out before, and whoever pushes it
-- changes its state. It is not so for a queue of which RQ's list of queues does not tell.
local function is_queued(id, queue)
  local key = QUEUE .. queue
  local length = redis.call('LLEN', key)
  if length > 2 * places and redis.call('SISMEMBER', QUEUES, key) == 0 then return true end
  return redis.call('LPOS', key, id, 'MAXLEN', places)
    or length > places and redis.call('LPOS', key, id, 'RANK', -1, 'MAXLEN', places)
end

local function find(id, failure)
  local key = JOB .. id
  local fields = redis.call('HMGET', key, 'status', 'origin', 'enqueued_at', 'started_at', 'last_heartbeat')
  local status, queue = fields[1], fields[2]
  local state = (status or '') .. ' ' .. (fields[3] or '') .. ' ' .. (fields[4] or '') .. ' ' .. (fields[5] or '')
  if not status or not queue or queue == '' then
    return redis.call('EXISTS', key) == 1 and 'broken' or 'fine', state
  end
  if redis.call('HEXISTS', KEYS[1], id) == 1 then return 'fine', state end
  if redis.call('HEXISTS', KEYS[2], id) == 1 then return 'broken', state end
  if is_run(id, queue) or is_queued(id, queue) then return 'fine', state end
  if failure ~= '' then
    local newest = redis.call('XREVRANGE', RESULTS .. id, '+', '-', 'COUNT', 1)[1]
    if status ~= 'failed' or not newest then return 'fine', state end
    -- With at_least_once=False it stays where it is, unless it had not begun.
    local stays = failure == 'abandoned' and redis.call('HGET', key, ONCE) == '1'
    return stays and 'fine' or failure, state .. ' ' .. newest[1], queue
  end
  if status ~= 'queued' and status ~= 'started' and status ~= 'scheduled' then return 'fine', state end
  for _, registry in ipairs(REGISTRIES) do
    if redis.call('ZSCORE', registry .. queue, id) then return 'fine', state end
  end
  return status == 'started' and 'died' or 'lost', state, queue
end

-- Takes away what a dead worker left. RQ 2.12 fails a job for an entry that has expired, wherever the job is by then.
local function tidy(id, queue)
  for _, entry in ipairs(entries_of(id, queue)) do
    local worker = redis.call('HGET', EXECUTION .. entry, 'worker_name')
    if worker and worker ~= '' then redis.call('SREM', WORKER .. worker .. ':executions', entry) end
    redis.call('ZREM', STARTED .. queue, entry)
    redis.call('DEL', EXECUTION .. entry)
  end
  redis.call('DEL', EXECUTIONS .. id)
  redis.call('LREM', QUEUE .. queue .. INTERMEDIATE, 0, id)
  redis.call('DEL', QUEUE .. queue .. FIRST_SEEN .. id)
end

local function put_back(id, queue)
  local key = JOB .. id
  redis.call('LPUSH', QUEUE .. queue, id)
  local written = redis.pcall('HSET', key, 'status', 'queued', 'enqueued_at', stamp, 'started_at', '', 'ended_at', '')
  if type(written) == 'table' then
    redis.call('LREM', QUEUE .. queue, 1, id)
    return written['err']
  end
  redis.call('HDEL', key, 'exc_info')
  redis.call('PERSIST', key)
  redis.call('PERSIST', ASIDE .. id)
  redis.call('SADD', QUEUES, QUEUE .. queue)
  redis.call('ZREM', FAILED .. queue, id)
  tidy(id, queue)
  return 'back'
end

local function fail(id, queue, why)
  local key, results = JOB .. id, RESULTS .. id
  local ttl = tonumber(redis.call('HGET', key, 'failure_ttl') or '') or tonumber(ARGV[6])
  redis.call('ZADD', FAILED .. queue, ttl < 0 and ttl or math.floor(seconds) + ttl, id)
  redis.call('HSET', key, 'status', 'failed', 'ended_at', stamp)
  redis.call('XADD', results, 'MAXLEN', '~', 10, '*', 'type', ARGV[8], 'worker_name', '', 'exc_string', why)
  if ttl > 0 then
    redis.call('EXPIRE', results, ttl)
    redis.call('EXPIRE', key, ttl)
  else
    redis.call('PERSIST', results)
  end
  tidy(id, queue)
  return 'failed'
end

local function one_more(id, field)
  local number = (tonumber(redis.call('HGET', JOB .. id, field) or '') or 0) + 1
  redis.call('HSET', JOB .. id, field, number)
  return number
end

local function settle(id, failure, state, why)
  local found, is, queue = find(id, failure)
  if found == 'fine' or found == 'broken' or not act then return found, is end
  if is ~= state then return 'changed', is end
  if why ~= '' then
    redis.call('HSET', KEYS[2], id, cjson.encode({queue = queue, at = stamp, why = why}))
    tidy(id, queue)
    return 'aside', is
  end
  if found == 'died' and redis.call('HGET', JOB .. id, ONCE) == '1' then return fail(id, queue, ARGV[9]), is end
  if found == 'died' or found == 'abandoned' then
    if one_more(id, DEATHS) >= tonumber(ARGV[4]) then return fail(id, queue, ARGV[10]), is end
  elseif one_more(id, LOST) >= tonumber(ARGV[5]) then
    return fail(id, queue, ARGV[11]), is
  end
  return put_back(id, queue), is
end

local answers = {}
for at = 12, #ARGV, 4 do
  local fine, found, state = pcall(settle, ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  if fine then
    answers[#answers + 1] = {found, state}
  else
    local why = type(found) == 'table' and found['err'] or tostring(found)
    answers[#answers + 1] = {string.find(why, 'WRONGTYPE', 1, true) and 'broken' or why, ''}
  end
end
return answers
