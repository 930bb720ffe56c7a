-- Gives a part of a queue or a registry, a line for each job: one string is read many times faster than a list of
-- thousands.
--
-- KEYS  1     the queue or the registry
-- ARGV  1     LRANGE or ZRANGE
--       2, 3  the first and the last place

local ids = redis.pcall(ARGV[1], KEYS[1], ARGV[2], ARGV[3])
return ids['err'] and '' or table.concat(ids, '\n')
