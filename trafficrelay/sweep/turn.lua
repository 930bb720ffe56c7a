-- Has sweepers take turns: one at a time, and no more often than one alone would.
--
-- KEYS  1  whose turn it is   2  there as long as no sweep is due
-- ARGV  1  take, keep or end  2  a token of the sweeper   3  milliseconds: how long its turn lasts, or until the next is due
--       4  1 to take it although none is due
-- Gives 1 if the turn is the sweeper's; otherwise 0, and the milliseconds after which to ask again

if ARGV[1] == 'take' then
  local wait = ARGV[4] == '1' and 0 or redis.call('PTTL', KEYS[2])
  if wait > 0 then return {0, wait} end
  if redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[3]) then return {1, 0} end
  return {0, math.max(redis.call('PTTL', KEYS[1]), 1)}
end
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return {0, 0} end
if ARGV[1] == 'keep' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
else
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], '1', 'PX', ARGV[3])
end
return {1, 0}
