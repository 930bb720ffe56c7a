-- Takes one event: all of its jobs and marks, or nothing.
--
-- Redis does not roll a script back. So all keys' types are checked before the first write, every write that has been
-- done is undone when a later one is refused (a rule of Redis' access control, say), and the marks that make an event a
-- duplicate come last: a mark without its jobs would turn the sender's next try into a loss.
--
-- KEYS  1      the event's mark
--       2      the duplicate key's mark (the event's mark again where there is none)
--       3      the set of all queues
--       then three for each job: its hash, the list or sorted set that it goes into, its stream of results
-- ARGV  1      when the relay will no longer wait for the reply, in milliseconds on this server's clock
--       2      the receipt, kept in the marks
--       3, 4   seconds for which the two marks live (4 is 0 where there is no duplicate key)
--       5      the number of jobs
--       then for each job: its id, its queue's key, R | L | Z (append, prepend, add with a score), the score,
--              seconds after which its hash and results go (0: never),
--              the number of arguments that make its first result, and these,
--              the number of arguments that make its hash, and these
-- Gives {1, receipt} for a new event, {0, first receipt} for a known one.

local receipt, event_ttl, dedupe_ttl, count = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])

local function expect(key, wanted)
  local found = redis.call('TYPE', key)['ok']
  if found ~= 'none' and found ~= wanted then
    return redis.error_reply('TRAFFICRELAYTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. wanted)
  end
end

local wrong = expect(KEYS[1], 'string') or expect(KEYS[2], 'string') or expect(KEYS[3], 'set')
if wrong then return wrong end

local known = redis.call('GET', KEYS[1]) or (dedupe_ttl > 0 and redis.call('GET', KEYS[2]))
if known then return {0, known} end

-- A server that was frozen finds this in its socket when it goes on. By then the sender has been told to send again.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[1]) then return redis.error_reply('TRAFFICRELAYLATE ' .. now) end

-- Read the jobs and check what they would touch.
local jobs, at = {}, 6
for number = 1, count do
  local key = 3 + 3 * (number - 1)
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
  if redis.call('EXISTS', job.hash) == 1 then return {0, receipt} end
  job.new_queue = redis.call('SISMEMBER', KEYS[3], job.queue) == 0
  jobs[number] = job
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
if dedupe_ttl > 0 then
  failed = write({'DEL', KEYS[2]}, 'SET', KEYS[2], receipt, 'EX', dedupe_ttl)
  if failed then return failed end
end
return {1, receipt}
