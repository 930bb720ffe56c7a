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
--       13 the beginning of the new executions' ids, 24 digits
--       14 how many jobs ended, then for each: how it ended
--         D  by RQ's own bookkeeping                    id, execution, queue
--         F  well                                       id, execution, queue, started, ended, seconds that it ran,
--                                                       seconds that the result is kept (-1: for ever), the number of
--                                                       what makes the result, these
-- Gives 1  for each that ended: 0 written, 1 not ours any more, 2 it has dependents, which is RQ's business, 3 RQ
--          has not written it, or why not
--       2  1 if the workers are suspended
--       3  for each job: the number of its parts and their lengths, packed
--       4  the parts of all jobs: id, the number of its queue, its execution, its hash as it was
--       5  1 if there may be more of them: so many are deleted, or they are so large, that it was enough for one time
--
-- A call from Lua takes some 2 us, twice what most of these commands do. So what can be said of many jobs at once is.

local held, leases, worker_key, executions_key, broken = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6]
local worker, now, stamp, interval = ARGV[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local lists_executions, wanted = ARGV[7] == '1', tonumber(ARGV[10])
local whole = math.floor(stamp)
local HEAVY = 16 * 1024 * 1024  -- bytes of jobs that are given at a time: a reply may take two seconds
local at = 15

-- Fails before anything is written if one of our own keys holds something else.
redis.call('HLEN', held)
redis.call('HLEN', broken)
-- The first write. Redis looks only at this one whether its memory is full: then nothing of all this is done. Further
-- down it would be taken for a fault of a job.
redis.call('ZADD', leases, redis.call('TIME')[1] + tonumber(ARGV[2]), worker)

-- Collects the arguments of commands on several keys, to say each once.
local function gatherer(command)
  local by_key = {}
  return function(key, ...)
    local list = by_key[key]
    if not list then
      list = {}
      by_key[key] = list
    end
    for _, part in ipairs({...}) do list[#list + 1] = part end
  end, function()
    for key, list in pairs(by_key) do
      for from = 1, #list, 1000 do redis.call(command, key, unpack(list, from, math.min(#list, from + 999))) end
    end
  end
end

local ended = {}
for number = 1, tonumber(ARGV[14]) do
  local one = {how = ARGV[at], id = ARGV[at + 1], execution = ARGV[at + 2], queue = ARGV[at + 3]}
  at = at + 4
  if one.how == 'F' then
    one.started, one.ended, one.seconds, one.ttl = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
    one.first, one.last = at + 5, at + 4 + tonumber(ARGV[at + 4])
    at = one.last + 1
  end
  one.entry = one.id .. ':' .. one.execution
  ended[number] = one
end

local outcomes, gone, not_started, worked = {}, {}, {}, 0
local add_finished, write_finished = gatherer('ZADD')
local drop_started, write_started = gatherer('ZREM')
local drop_failed, write_unfailed = gatherer('ZREM')

local function finish(one)
  local job, results = JOB .. one.id, RESULTS .. one.id
  local added = redis.call('HSET', job, 'status', 'finished', 'started_at', one.started, 'ended_at', one.ended,
    'last_heartbeat', one.ended)
  if added > 2 then
    -- It was not there: the job has deleted itself, and RQ writes it anew.
    redis.call('DEL', job)
    return 2
  end
  redis.call('XADD', results, 'MAXLEN', '~', 10, '*', unpack(ARGV, one.first, one.last))
  if one.ttl > 0 then
    redis.call('EXPIRE', results, one.ttl)
    redis.call('EXPIRE', job, one.ttl)
    add_finished(FINISHED .. one.queue, whole + one.ttl, one.id)
  else
    redis.call('PERSIST', results)
    add_finished(FINISHED .. one.queue, '+inf', one.id)
  end
  redis.call('ZREM', EXECUTIONS .. one.id, one.execution)
  worked = worked + tonumber(one.seconds)
  return 0
end

local function end_one(one, holder)
  if holder ~= worker .. ':' .. one.execution then
    redis.call('DEL', EXECUTION .. one.entry)
    redis.call('ZREM', EXECUTIONS .. one.id, one.execution)
    redis.call('SREM', executions_key, one.entry)
    drop_started(STARTED .. one.queue, one.entry)
    return 1
  elseif one.how == 'D' then
    -- RQ's entry goes in the same step in which it writes what has become of the job.
    if redis.call('ZSCORE', STARTED .. one.queue, one.entry) then return 3 end
    gone[#gone + 1] = one.id
    return 0
  elseif redis.call('EXISTS', JOB .. one.id .. ':dependents') == 1 then
    return 2
  end
  local fine, outcome = pcall(finish, one)
  if not fine then return words(outcome) end
  if outcome ~= 0 then return outcome end
  drop_started(STARTED .. one.queue, one.entry)
  drop_failed(FAILED .. one.queue, one.id)
  gone[#gone + 1] = one.id
  not_started[#not_started + 1] = one.entry
  return 0
end

for from = 1, #ended, 1000 do
  local ids = {}
  for number = from, math.min(#ended, from + 999) do ids[#ids + 1] = ended[number].id end
  for number, holder in ipairs(redis.call('HMGET', held, unpack(ids))) do
    outcomes[from + number - 1] = end_one(ended[from + number - 1], holder)
  end
end
if #not_started > 0 then
  write_finished()
  local keys = {}
  for number, entry in ipairs(not_started) do keys[number] = EXECUTION .. entry end
  redis.call('DEL', unpack(keys))
  if lists_executions then redis.call('SREM', executions_key, unpack(not_started)) end
  -- RQ may have taken a job for abandoned, when Redis was away for long and the worker could not say that it runs.
  write_unfailed()
  redis.call('HINCRBY', worker_key, 'successful_job_count', #not_started)
end
write_started()
-- Last: as long as a job is held, somebody looks after it.
if #gone > 0 then redis.call('HDEL', held, unpack(gone)) end
if worked > 0 then redis.call('HINCRBYFLOAT', worker_key, 'total_working_time', string.format('%.6f', worked)) end

local suspended = redis.call('EXISTS', KEYS[5]) == 1
local begun, sizes, parts, suspects, looked, drawn, current = 0, {}, {}, tonumber(ARGV[12]), 0, 0, ARGV[8]
local add_started, write_begun = gatherer('ZADD')
local entries = {}

local function execution_id(number) return ARGV[13] .. string.format('%08x', number) end

-- A job is begun here, as RQ's worker begins it, because there is a thread that waits for it. Gives `true`; or 'gone' if
-- somebody deleted it while it was queued; or 'wait' if two workers died with it, and another such one runs here: the one
-- that kills has to do it alone.
local weight = 0
local function begin(id, place, queue, execution)
  local flat = redis.call('HGETALL', JOB .. id)
  if #flat == 0 then return 'gone' end
  local timeout, deaths = 0, 0
  for number = 1, #flat, 2 do
    local name = flat[number]
    if name == 'timeout' then timeout = tonumber(flat[number + 1]) or 0
    elseif name == 'origin' and flat[number + 1] ~= '' then queue = flat[number + 1]
    elseif name == DEATHS then deaths = tonumber(flat[number + 1]) or 0 end
  end
  if deaths >= 2 then
    if suspects > 0 then return 'wait' end
    suspects = suspects + 1
  end
  local ttl = 60 + math.floor(timeout > 0 and math.min(timeout, interval) or interval)
  local entry = id .. ':' .. execution
  if lists_executions then
    redis.call('HSET', EXECUTION .. entry, 'id', execution, 'created_at', ARGV[4], 'last_heartbeat', ARGV[4],
      'worker_name', worker, 'job_id', id)
  else
    redis.call('HSET', EXECUTION .. entry, 'id', execution, 'created_at', ARGV[4], 'last_heartbeat', ARGV[4],
      'worker_name', worker)
  end
  redis.call('EXPIRE', EXECUTION .. entry, ttl)
  redis.call('ZADD', EXECUTIONS .. id, whole + ttl + 60, execution)
  redis.call('EXPIRE', EXECUTIONS .. id, ttl + 60)
  redis.call('PERSIST', JOB .. id)
  redis.call('HSET', JOB .. id, 'status', 'started', 'started_at', now, 'last_heartbeat', now, 'worker_name', worker)
  add_started(STARTED .. queue, whole + ttl, entry)
  entries[#entries + 1] = entry
  for number = 2, #flat, 2 do weight = weight + #flat[number] end
  sizes[#sizes + 1] = #flat + 3
  for _, part in ipairs({id, tostring(place), execution}) do
    parts[#parts + 1] = part
    sizes[#sizes + 1] = #part
  end
  for number = 1, #flat do
    parts[#parts + 1] = flat[number]
    sizes[#sizes + 1] = #flat[number]
  end
  if begun == 0 then current = id end
  begun = begun + 1
  return true
end

-- Takes up to so many jobs from one queue.
local waited = 0
local function take(place, most)
  local key, waiting, got = KEYS[6 + place], {}, 0
  local queue = string.sub(key, #QUEUE + 1)
  while got < most and looked < 1000 and #waiting < 100 do
    local ids = redis.pcall('LPOP', key, most - got)
    if type(ids) ~= 'table' or ids['err'] then break end
    looked = looked + #ids
    local mine, holds, first, seen = {}, {}, drawn, {}
    local holders = #ids > 0 and redis.call('HMGET', held, unpack(ids))
    for number, id in ipairs(ids) do
      if string.find(id, '[^\33-\126]') then
        redis.call('HSET', broken, id, cjson.encode({queue = queue, at = now, why = 'Its id is none that RQ gives.'}))
      elseif seen[id] or holders[number] then
        -- Its id is in the queue twice, and it runs already. Once at a time is enough.
        waiting[#waiting + 1] = id
      else
        seen[id] = true
        mine[#mine + 1] = id
        holds[#holds + 1] = id
        holds[#holds + 1] = worker .. ':' .. execution_id(drawn)
        drawn = drawn + 1
      end
    end
    if #holds > 0 then redis.call('HSET', held, unpack(holds)) end
    local unheld, heavy = {}, {}
    for number, id in ipairs(mine) do
      local execution, fine, began = execution_id(first + number - 1), true, 'heavy'
      if weight < HEAVY then fine, began = pcall(begin, id, place, queue, execution) end
      if fine and began == true then
        got = got + 1
      else
        if began == 'wait' then waiting[#waiting + 1] = id end
        if began == 'heavy' then heavy[#heavy + 1] = id end
        if not fine then
          -- Somebody else wrote into its keys. It is set aside, to be looked at, and not touched any more.
          redis.call('HSET', broken, id, cjson.encode({queue = queue, at = now, why = words(began)}))
          pcall(forget, held, executions_key, id, execution, queue)
        end
        unheld[#unheld + 1] = id
      end
    end
    if #unheld > 0 then redis.call('HDEL', held, unpack(unheld)) end
    for last = #heavy, 1, -1 do redis.call('LPUSH', key, heavy[last]) end
    if weight >= HEAVY then break end
  end
  -- To the end: those behind it need not wait as well.
  waited = waited + #waiting
  if #waiting > 0 then redis.call('RPUSH', key, unpack(waiting)) end
  return got
end

if wanted > 0 and not suspended then
  local turns, found = ARGV[11] == '1', 0
  repeat
    found = 0
    for place = 1, #KEYS - 6 do
      if begun < wanted and weight < HEAVY then found = found + take(place, turns and 1 or wanted - begun) end
    end
  until not turns or found == 0 or begun >= wanted
end
write_begun()

local busy = begun + tonumber(ARGV[9]) > 0
redis.call('HSET', worker_key, 'state', busy and 'busy' or suspended and 'suspended' or 'idle', 'last_heartbeat', now)
redis.call('EXPIRE', worker_key, ARGV[6])
if lists_executions then
  if #entries > 0 then redis.call('SADD', executions_key, unpack(entries)) end
  redis.call('EXPIRE', executions_key, ARGV[6])
elseif current ~= '' then
  redis.call('HSET', worker_key, 'current_job', current, 'current_job_working_time', 0)
else
  redis.call('HDEL', worker_key, 'current_job')
end
local more = looked - waited >= 1000 or weight >= HEAVY
return {outcomes, suspended and 1 or 0, cmsgpack.pack(sizes), table.concat(parts), more and 1 or 0}
