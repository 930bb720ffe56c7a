-- What the worker's scripts share. Before it stands what RQ calls its keys, each the beginning of a name.

-- What an error that pcall caught says.
local function words(wrong)
  return type(wrong) == 'table' and wrong['err'] or tostring(wrong)
end

-- Forgets that a job runs: RQ's entries of one execution, and ours.
local function forget(held, worker_executions, id, execution, queue)
  local entry = id .. ':' .. execution
  redis.call('DEL', EXECUTION .. entry)
  redis.call('ZREM', EXECUTIONS .. id, execution)
  redis.call('ZREM', STARTED .. queue, entry)
  redis.call('SREM', worker_executions, entry)
  redis.call('HDEL', held, id)
end
