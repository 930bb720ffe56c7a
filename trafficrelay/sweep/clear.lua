-- Finds what is kept aside for jobs that are gone, and has it go some time later. Not at once: somebody may be copying a
-- Redis key by key, and a worker that had the job in its hands may write it back. Who reads it then keeps it.
--
-- Before this stand JOB and ASIDE, the beginning of a job's name, and of that of what is kept aside of it.
--
-- ARGV  1  where to go on, as SCAN gave it   2  the pattern of jobs' ids   3  how many keys to look at
--       4  the seconds after which it goes   5  1 to have it go, 0 to look
-- Gives where to go on, and how many there were

local page = redis.call('SCAN', ARGV[1], 'MATCH', ASIDE .. ARGV[2], 'COUNT', ARGV[3])
local found = 0
for _, key in ipairs(page[2]) do
  -- What has a time to live goes by itself: its job has ended well.
  if redis.call('EXISTS', JOB .. string.sub(key, #ASIDE + 1)) == 0 and redis.call('PTTL', key) == -1 then
    if ARGV[5] == '0' or redis.pcall('EXPIRE', key, ARGV[4]) == 1 then found = found + 1 end
  end
end
return {page[1], found}
