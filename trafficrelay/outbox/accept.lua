-- Takes one event: all of its jobs and marks, or nothing.
--
-- Redis does not roll a script back. So all keys' types are checked before the first write, every write that has been
-- done is undone when a later one is refused (a rule of Redis' access control, say), and the marks that make an event a
-- duplicate come last: a mark without its jobs would turn the sender's next try into a loss.
--
-- Before this stands what RQ calls its keys: JOB, RESULTS and FAILED, each the beginning of a name.
--
-- KEYS  1      the event's mark
--       2      the duplicate key's mark (the event's mark again where there is none)
--       3      the set of all queues
--       4      the hash of paused routes
--       5      the rate's count (the event's mark again where there is none)
--       then three for each job: its hash, the list or sorted set that it goes into, its stream of results
-- ARGV  1      when the relay will no longer wait for the reply, in milliseconds on this server's clock
--       2      the receipt, kept in the marks: the event's id and the number of its jobs
--       3, 4   seconds for which the two marks live (4 is 0 where there is no duplicate key)
--       5      the route
--       6      1 if whoever sends waits until replicas or the disk have it: then a known event is written too, because
--              waiting is for the writes of the same connection
--       7, 8   the rate: microseconds for each event, and how many at once; 0 for none
--       9, 10  how many jobs may wait in the queue, and how many milliseconds the oldest may; 0 for any
--       11     the job of the dead letter that this event settles, or nothing
--       12     how many jobs it may have become before
--       13     1 if it became a dead letter
--       14     the number of jobs
--       then for each job: its id, its queue's key, R | L | Z (append, prepend, add with a score), the score,
--              seconds after which its hash and results go (0: never),
--              the number of arguments that make its first result, and these,
--              the number of arguments that make its hash, and these
-- Gives {1, receipt}         for a new event
--       {0, first receipt}   for a known one; and a third, 1, if a job of it failed for good
--       {2, why, number}     for one that is turned away: 'rate' (microseconds until the next), 'queued' (jobs that
--                            wait), 'lag' (milliseconds that the oldest has waited), 'paused' (the mode)
--       {3}                  when the dead letter that it settles is not there, or runs already

local receipt, event_ttl, dedupe_ttl, count = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[14])
local settles = ARGV[11]

local function expect(key, wanted)
  local found = redis.call('TYPE', key)['ok']
  if found ~= 'none' and found ~= wanted then
    return redis.error_reply('TRAFFICRELAYTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. wanted)
  end
end

local function failed_for_good(id)
  local key = JOB .. id
  return redis.call('TYPE', key)['ok'] == 'hash' and redis.call('HGET', key, 'status') == 'failed'
end

-- Takes a failed job out of RQ's sight; not one that somebody has requeued meanwhile.
local function remove(id)
  if not failed_for_good(id) then return end
  local queue = redis.pcall('HGET', JOB .. id, 'origin')
  if type(queue) == 'string' then redis.pcall('ZREM', FAILED .. queue, id) end
  redis.pcall('DEL', JOB .. id, RESULTS .. id)
end

-- Whole days from 1970 to a date.
local function days(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

local interval, dedupes = tonumber(ARGV[7]), dedupe_ttl > 0
local wrong = expect(KEYS[1], 'string') or (dedupes and expect(KEYS[2], 'string')) or expect(KEYS[3], 'set')
  or (interval > 0 and expect(KEYS[5], 'string'))
if wrong then return wrong end

local function known(key, first, dead)
  if ARGV[6] == '1' then redis.call('SETRANGE', key, 0, string.sub(first, 1, 1)) end
  if settles ~= '' then remove(settles) end
  return {0, first, dead and 1 or 0}
end

local first = redis.call('GET', KEYS[1])
if first then return known(KEYS[1], first) end
first = dedupes and redis.call('GET', KEYS[2])
if first then
  local id, jobs = string.match(first, '^(%S+) (%d+)$')
  jobs = tonumber(jobs or 0)
  local letter = jobs == 0
  if letter then
    -- Its dead letter may have become jobs since.
    while redis.call('EXISTS', JOB .. id .. '-' .. (jobs + 1)) == 1 do jobs = jobs + 1 end
    first = id .. ' ' .. jobs
  end
  local dead = false
  for number = 1, jobs do dead = dead or failed_for_good(id .. '-' .. number) end
  -- Only whoever sends it again wants that: not a spool, from which the very same event comes a second time.
  dead = dead and id ~= string.match(receipt, '^%S+')
  if not letter or ARGV[13] == '1' or not failed_for_good(id .. '-0') then return known(KEYS[2], first, dead) end
  -- The first became a dead letter and this one did not: whoever sent it again wants it to run.
  settles = id .. '-0'
elseif settles ~= '' and not failed_for_good(settles) then
  return {3}
end

-- A server that was frozen finds this in its socket when it goes on. By then the sender has been told to send again.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[1]) then return redis.error_reply('TRAFFICRELAYLATE ' .. now) end

-- Read the jobs and check what they would touch.
local jobs, at = {}, 15
for number = 1, count do
  local key = 5 + 3 * (number - 1)
  local job = {
    hash = KEYS[key + 1], target = KEYS[key + 2], results = KEYS[key + 3],
    id = ARGV[at], queue = ARGV[at + 1], how = ARGV[at + 2], score = ARGV[at + 3], ttl = tonumber(ARGV[at + 4]),
  }
  at = at + 5
  job.result_from, job.result_to = at + 1, at + tonumber(ARGV[at])
  at = job.result_to + 1
  job.hash_from, job.hash_to = at + 1, at + tonumber(ARGV[at])
  at = job.hash_to + 1
  wrong = expect(job.hash, 'hash') or expect(job.target, job.how == 'Z' and 'zset' or 'list')
    or expect(job.results, 'stream')
  if wrong then return wrong end
  -- Its mark has gone but the job is here: it was taken before.
  if redis.call('EXISTS', job.hash) == 1 then
    redis.call('SET', KEYS[1], receipt, 'EX', event_ttl)
    return known(KEYS[1], receipt)
  end
  job.new_queue = redis.call('SISMEMBER', KEYS[3], job.queue) == 0
  jobs[number] = job
end
local event, earlier = string.match(receipt, '^%S+'), tonumber(ARGV[12])
for number = 1, earlier do
  if redis.call('EXISTS', JOB .. event .. '-' .. number) == 1 then
    first = event .. ' ' .. earlier
    redis.call('SET', KEYS[1], first, 'EX', event_ttl)
    return known(KEYS[1], first)
  end
end

-- What may turn it away.
local mode = redis.pcall('HGET', KEYS[4], ARGV[5])
if type(mode) == 'table' then return expect(KEYS[4], 'hash') or mode end
if mode then return {2, 'paused', mode} end
local max_queued, max_lag = tonumber(ARGV[9]), tonumber(ARGV[10])
if count > 0 and ARGV[13] ~= '1' and max_queued + max_lag > 0 then
  local queue, sorted = jobs[1].target, jobs[1].how == 'Z'
  local waiting = redis.call(sorted and 'ZCARD' or 'LLEN', queue)
  if max_queued > 0 and waiting >= max_queued then return {2, 'queued', waiting} end
  -- At both ends: jobs that go to the front put the oldest last.
  for _, place in ipairs((max_lag > 0 and not sorted) and {0, -1} or {}) do
    local oldest = redis.call('LINDEX', queue, place)
    local since = oldest and redis.pcall('HGET', JOB .. oldest, 'enqueued_at')
    if type(since) == 'string' then
      local year, month, day, hour, minute, second = string.match(since, '^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)')
      local lag = year and now - 1000 * (second + 60 * (minute + 60 * (hour + 24 * days(year + 0, month + 0, day + 0))))
      if lag and lag > max_lag then return {2, 'lag', lag} end
    end
  end
end
local arrival
if interval > 0 then
  -- The algorithm of rate.py's gcra, with its reasons.
  local now_us, tolerance = time[1] * 1000000 + time[2], interval * tonumber(ARGV[8])
  local start = tonumber(redis.call('GET', KEYS[5]) or 0)
  if start < now_us or start > now_us + tolerance + 1000000 then start = now_us end
  arrival = start + interval
  local early = arrival - tolerance - now_us
  if early > 0 then return {2, 'rate', early} end
  arrival = {string.format('%.0f', arrival), string.format('%.0f', math.ceil((arrival - now_us) / 1000))}
end

local undo = {}
local function write(back, ...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply['err'] then
    for step = #undo, 1, -1 do redis.pcall(unpack(undo[step])) end
    return reply
  end
  if back then undo[#undo + 1] = back end
end

local failed
for _, job in ipairs(jobs) do
  failed = write({'DEL', job.hash}, 'HSET', job.hash, unpack(ARGV, job.hash_from, job.hash_to))
  if failed then return failed end
  if job.result_to >= job.result_from then
    failed = write({'DEL', job.results}, 'XADD', job.results, '*', unpack(ARGV, job.result_from, job.result_to))
    if failed then return failed end
  end
  if job.ttl > 0 then
    failed = write(nil, 'EXPIRE', job.hash, job.ttl) or write(nil, 'EXPIRE', job.results, job.ttl)
    if failed then return failed end
  end
  if job.new_queue then
    failed = write({'SREM', KEYS[3], job.queue}, 'SADD', KEYS[3], job.queue)
    if failed then return failed end
  end
  if job.how == 'Z' then
    failed = write({'ZREM', job.target, job.id}, 'ZADD', job.target, job.score, job.id)
  else
    local push, end_ = 'RPUSH', -1
    if job.how == 'L' then push, end_ = 'LPUSH', 1 end
    failed = write({'LREM', job.target, end_, job.id}, push, job.target, job.id)
  end
  if failed then return failed end
end

failed = write({'DEL', KEYS[1]}, 'SET', KEYS[1], receipt, 'EX', event_ttl)
if failed then return failed end
if dedupes then
  failed = write({'DEL', KEYS[2]}, 'SET', KEYS[2], receipt, 'EX', dedupe_ttl)
  if failed then return failed end
end
if interval > 0 then redis.pcall('SET', KEYS[5], arrival[1], 'PX', arrival[2]) end
if settles ~= '' then remove(settles) end
return {1, receipt}
