-- Looks at some jobs that lie in no queue, and gives those that may lie nowhere at all. Nothing is written.
--
-- Before this stands what RQ calls its keys: JOB, RESULTS, SCHEDULED, STARTED and EXECUTIONS, each the beginning of a name,
-- and STATES, the names of all states as keys.
--
-- ARGV  1, 2  the times, as RQ writes them, from which and up to which a queued job is too young to be looked at
--       3     how many bytes a failure's words may have: those of RQ itself are few
--       then the ids
-- Gives 1  the ids of those that are queued; or started or scheduled, and in no registry that says so
--       2  of those that failed: id, the id of the newest result, its words
--       3  the ids of those that cannot be read

local now, from, to = tonumber(redis.call('TIME')[1]), ARGV[1], ARGV[2]
local suspects, failed, broken = {}, {}, {}

local function runs(id, queue)
  for _, execution in ipairs(redis.call('ZRANGE', EXECUTIONS .. id, 0, -1)) do
    local until_ = redis.call('ZSCORE', STARTED .. queue, id .. ':' .. execution)
    if until_ and tonumber(until_) >= now then return true end
  end
  return false
end

local function look(id)
  local key = JOB .. id
  local fields = redis.call('HMGET', key, 'status', 'origin', 'enqueued_at')
  local status, queue, since = fields[1], fields[2], fields[3]
  if not STATES[status or ''] or not queue or queue == '' then
    if redis.call('EXISTS', key) == 1 then broken[#broken + 1] = id end
  elseif status == 'queued' then
    if not since or since < from or since > to then suspects[#suspects + 1] = id end
  elseif status == 'started' then
    if not runs(id, queue) then suspects[#suspects + 1] = id end
  elseif status == 'scheduled' then
    if not redis.call('ZSCORE', SCHEDULED .. queue, id) then suspects[#suspects + 1] = id end
  elseif status == 'failed' then
    -- One that failed by itself ended at a time. RQ gives none to those that it gives up, unless they failed before.
    local ended, left, tried = unpack(redis.call('HMGET', key, 'ended_at', 'retries_left', 'number_of_retries'))
    if ended and ended ~= '' and not left and not tried then return end
    local newest = redis.call('XREVRANGE', RESULTS .. id, '+', '-', 'COUNT', 1)[1]
    local values = newest and newest[2] or {}
    for at = 1, #values, 2 do
      if values[at] == 'exc_string' and #values[at + 1] <= tonumber(ARGV[3]) then
        failed[#failed + 1] = {id, newest[1], values[at + 1]}
      end
    end
  end
end

for at = 4, #ARGV do
  -- A key that is no hash, a registry that is none.
  if not pcall(look, ARGV[at]) then broken[#broken + 1] = ARGV[at] end
end
return {suspects, failed, broken}
