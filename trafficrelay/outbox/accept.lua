-- Takes what came in one request: one event, or several. All of their jobs and marks, or nothing.
--
-- Redis does not roll a script back. So everything is looked at before the first write, the types of all keys among it;
-- every write that has been done is undone when a later one is refused (a rule of Redis' access control, say), and the
-- marks that make an event a duplicate come last: a mark without its jobs would turn the sender's next try into a loss.
--
-- Before this stand JOB, RESULTS and FAILED, each the beginning of a name of RQ's, and ASIDE, that of one of ours.
--
-- KEYS  1      the set of all queues
--       2      the hash of paused routes
--       then for each event: its mark; the duplicate key's mark, and the rate's count (its own mark again where there
--              is none); and three for each job: its hash, the list or sorted set that it goes into, its results
-- ARGV  1      when the relay will no longer wait for the reply, in milliseconds on this server's clock
--       2      1 if whoever sends waits until replicas or the disk have it: then a known event is written too, because
--              waiting is for the writes of the same connection
--       3      the number of events
--       then for each event:
--        0     the receipt, kept in the marks: its id and the number of its jobs
--        1, 2  seconds for which the two marks live (2 is 0 where there is no duplicate key)
--        3     its route
--        4, 5  the rate: microseconds for each event, and how many at once; 0 for none
--        6, 7  how many jobs may wait in a queue, and how many milliseconds the oldest may; 0 for any
--        8     the job of the dead letter that it settles, or nothing
--        9     how many jobs it may have become before
--        10    1 if it became a dead letter
--        11    the number of jobs
--        then for each job: its id, its queue's key, R | L | Z (append, prepend, add with a score), the score,
--              seconds after which its hash and results go (0: never), what is kept aside of it, or nothing,
--              the number of arguments that make its first result, and these,
--              the number of arguments that make its hash, and these
-- Gives a list with, for each event,
--         {1, receipt}         if it is new
--         {0, first receipt}   if it is known; and a third, 1, if a job of it failed for good
--       or, if all of them are turned away,
--         {2, why, number, queue}  'rate' (microseconds until they are taken), 'queued' (jobs that wait), 'lag'
--                              (milliseconds that the oldest has waited), 'paused' (the mode); the queue of the middle two
--         {3}                  when the dead letter that one settles is not there, or runs already

local deadline, waits, events = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
local next_key, next_arg = 3, 4

-- Calls cost more than all else here. So a key is not asked for its type where what is asked of it tells that too.
local function misfit(key, found, wanted)
  return redis.error_reply('TRAFFICRELAYTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. wanted)
end

-- Many events share queues.
local seen = {}
local function expect(key, wanted)
  if seen[key] == wanted then return end
  local found = redis.call('TYPE', key)['ok']
  if found ~= 'none' and found ~= wanted then return misfit(key, found, wanted) end
  seen[key] = wanted
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

-- A server that was frozen finds this in its socket when it goes on. By then the sender has been told to send again.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_us = time[1] * 1000000 + time[2]
local late = now > deadline

-- What the events before it in this request are going to write: events by mark, arrivals by rate, queues.
local marked, arrivals, checked, new_queues = {}, {}, {}, {}

-- Reads a job, and looks at what it would touch.
local function read_job()
  local key, at = next_key, next_arg
  local job = {
    hash = KEYS[key], target = KEYS[key + 1], results = KEYS[key + 2],
    id = ARGV[at], queue = ARGV[at + 1], how = ARGV[at + 2], score = ARGV[at + 3], ttl = tonumber(ARGV[at + 4]),
    aside = ARGV[at + 5],
  }
  at = at + 6
  job.result_from, job.result_to = at + 1, at + tonumber(ARGV[at])
  at = job.result_to + 1
  job.hash_from, job.hash_to = at + 1, at + tonumber(ARGV[at])
  next_key, next_arg = key + 3, job.hash_to + 1
  return job
end

local function read_event()
  local key, at = next_key, next_arg
  local event = {
    mark = KEYS[key], dedupe = KEYS[key + 1], rate = KEYS[key + 2],
    receipt = ARGV[at], event_ttl = ARGV[at + 1], dedupe_ttl = tonumber(ARGV[at + 2]), route = ARGV[at + 3],
    interval = tonumber(ARGV[at + 4]), burst = tonumber(ARGV[at + 5]),
    max_queued = tonumber(ARGV[at + 6]), max_lag = tonumber(ARGV[at + 7]),
    settles = ARGV[at + 8], earlier = tonumber(ARGV[at + 9]), is_letter = ARGV[at + 10] == '1', jobs = {},
  }
  next_key, next_arg = key + 3, at + 12
  for number = 1, tonumber(ARGV[at + 11]) do event.jobs[number] = read_job() end
  return event
end

local function id_of(event) return string.match(event.receipt, '^%S+') end

-- Says what a known event is answered.
local function known(event, key, first, dead)
  if waits then redis.call('SETRANGE', key, 0, string.sub(first, 1, 1)) end
  if event.settles ~= '' then remove(event.settles) end
  return {0, first, dead and 1 or 0}
end

-- Says of an event whose duplicate key is known what is answered; nothing if it is to run in place of the first.
local function repeated(event, first)
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
  dead = dead and id ~= id_of(event)
  if not letter or event.is_letter or not failed_for_good(id .. '-0') then
    return known(event, event.dedupe, first, dead)
  end
  -- The first became a dead letter and this one did not: whoever sent it again wants it to run.
  event.settles = id .. '-0'
end

-- Says what is answered to an event that is not to be written; nothing if it is new.
local function look(event)
  local failed = event.interval > 0 and expect(event.rate, 'string')
  if failed then return failed end
  local first = redis.pcall('GET', event.mark)
  if type(first) == 'table' then return expect(event.mark, 'string') or first end
  if first then return known(event, event.mark, first) end
  if event.dedupe_ttl > 0 then
    local before = marked[event.dedupe]
    if before then
      if not before.is_letter or event.is_letter then return {0, before.receipt, 0} end
      event.settles = id_of(before) .. '-0'
    end
    first = before or redis.pcall('GET', event.dedupe)
    if first ~= before and type(first) == 'table' then return expect(event.dedupe, 'string') or first end
    if first and not before then
      local answer = repeated(event, first)
      if answer then return answer end
      event.replaced = first
    end
  end
  if not first and event.settles ~= '' and not failed_for_good(event.settles) then return {3} end
  if late then return redis.error_reply('TRAFFICRELAYLATE ' .. now) end
  for _, job in ipairs(event.jobs) do
    local there = redis.call('TYPE', job.hash)['ok']
    if there ~= 'none' and there ~= 'hash' then return misfit(job.hash, there, 'hash') end
    failed = expect(job.target, job.how == 'Z' and 'zset' or 'list') or expect(job.results, 'stream')
    if failed then return failed end
    -- Its mark has gone but the job is here: it was taken before.
    if there == 'hash' then
      redis.call('SET', event.mark, event.receipt, 'EX', event.event_ttl)
      return known(event, event.mark, event.receipt)
    end
    if new_queues[job.queue] == nil then
      local listed = redis.pcall('SISMEMBER', KEYS[1], job.queue)
      if type(listed) == 'table' then return expect(KEYS[1], 'set') or listed end
      new_queues[job.queue] = listed == 0
    end
  end
  for number = 1, event.earlier do
    if redis.call('EXISTS', JOB .. id_of(event) .. '-' .. number) == 1 then
      first = id_of(event) .. ' ' .. event.earlier
      redis.call('SET', event.mark, first, 'EX', event.event_ttl)
      return known(event, event.mark, first)
    end
  end
end

-- Says why a queue takes no more.
local function crowded(job, max_queued, max_lag)
  local queue, sorted = job.target, job.how == 'Z'
  local waiting = redis.call(sorted and 'ZCARD' or 'LLEN', queue)
  if max_queued > 0 and waiting >= max_queued then return {2, 'queued', waiting, job.queue} end
  -- At both ends: jobs that go to the front put the oldest last.
  for _, place in ipairs((max_lag > 0 and not sorted) and {0, -1} or {}) do
    local oldest = redis.call('LINDEX', queue, place)
    local since = oldest and redis.pcall('HGET', JOB .. oldest, 'enqueued_at')
    if type(since) == 'string' then
      local year, month, day, hour, minute, second = string.match(since, '^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)')
      local lag = year and now - 1000 * (second + 60 * (minute + 60 * (hour + 24 * days(year + 0, month + 0, day + 0))))
      if lag and lag > max_lag then return {2, 'lag', lag, job.queue} end
    end
  end
end

-- Says why a new event is turned away.
local function declined(event)
  if not checked[event.route] then
    local mode = redis.pcall('HGET', KEYS[2], event.route)
    if type(mode) == 'table' then return expect(KEYS[2], 'hash') or mode end
    if mode then return {2, 'paused', mode} end
    checked[event.route] = true
  end
  if not event.is_letter and event.max_queued + event.max_lag > 0 then
    for _, job in ipairs(event.jobs) do
      local why = not checked[job.target] and crowded(job, event.max_queued, event.max_lag)
      if why then return why end
      checked[job.target] = true
    end
  end
  if event.interval > 0 then
    -- The algorithm of rate.py's gcra, with its reasons.
    local tolerance = event.interval * event.burst
    local start = arrivals[event.rate]
    if not start then
      start = tonumber(redis.call('GET', event.rate) or 0)
      if start < now_us or start > now_us + tolerance + 1000000 then start = now_us end
    end
    arrivals[event.rate] = start + event.interval
  end
end

local replies, new = {}, {}
for number = 1, events do
  local event = read_event()
  local reply = look(event)
  if reply and (reply['err'] or reply[1] == 3) then return reply end
  if not reply then
    local why = declined(event)
    if why then return why end
    new[#new + 1] = event
    reply = {1, event.receipt}
    if event.dedupe_ttl > 0 then marked[event.dedupe] = event end
  end
  replies[number] = reply
end
for _, event in ipairs(new) do
  -- Of several together, so that the sender is told when all of them are taken.
  if event.interval > 0 then
    local early = arrivals[event.rate] - event.interval * event.burst - now_us
    if early > 0 then return {2, 'rate', early} end
  end
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

local function write_job(job)
  local failed = write({'DEL', job.hash}, 'HSET', job.hash, unpack(ARGV, job.hash_from, job.hash_to))
  if failed then return failed end
  if job.result_to >= job.result_from then
    failed = write({'DEL', job.results}, 'XADD', job.results, '*', unpack(ARGV, job.result_from, job.result_to))
    if failed then return failed end
  end
  if job.aside ~= '' then
    failed = write({'DEL', ASIDE .. job.id}, 'SET', ASIDE .. job.id, job.aside)
    if failed then return failed end
  end
  if job.ttl > 0 then
    failed = write(nil, 'EXPIRE', job.hash, job.ttl) or write(nil, 'EXPIRE', job.results, job.ttl)
    if failed then return failed end
  end
  if new_queues[job.queue] then
    failed = write({'SREM', KEYS[1], job.queue}, 'SADD', KEYS[1], job.queue)
    if failed then return failed end
    new_queues[job.queue] = false
  end
  if job.how == 'Z' then return write({'ZREM', job.target, job.id}, 'ZADD', job.target, job.score, job.id) end
  local push, end_ = 'RPUSH', -1
  if job.how == 'L' then push, end_ = 'LPUSH', 1 end
  return write({'LREM', job.target, end_, job.id}, push, job.target, job.id)
end

local failed
for _, event in ipairs(new) do
  for _, job in ipairs(event.jobs) do
    failed = write_job(job)
    if failed then return failed end
  end
end
for _, event in ipairs(new) do
  failed = write({'DEL', event.mark}, 'SET', event.mark, event.receipt, 'EX', event.event_ttl)
  if failed then return failed end
  if event.dedupe_ttl > 0 then
    local back = {'DEL', event.dedupe}
    if event.replaced then back = {'SET', event.dedupe, event.replaced, 'EX', event.dedupe_ttl} end
    failed = write(back, 'SET', event.dedupe, event.receipt, 'EX', event.dedupe_ttl)
    if failed then return failed end
  end
end
for key, arrival in pairs(arrivals) do
  local life = math.ceil((arrival - now_us) / 1000)
  if life > 0 then redis.pcall('SET', key, string.format('%.0f', arrival), 'PX', string.format('%.0f', life)) end
end
for _, event in ipairs(new) do
  if event.settles ~= '' then remove(event.settles) end
end
return replies
