-- Gives some of the keys that match a pattern, a line each: one string is read many times faster than a list of thousands.
--
-- ARGV  1  where to go on, as SCAN gave it   2  the pattern   3  how many keys to look at
-- Gives where to go on, and the keys

local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
return {page[1], table.concat(page[2], '\n')}
