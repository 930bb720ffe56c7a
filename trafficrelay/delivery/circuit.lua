-- What all workers know of one destination: whether it is tried, held off for a while, or disabled.
--
-- A destination of which nothing bad is known has no key. All times are of this server's clock, in milliseconds.
--
-- KEYS  1      the hash: failures (in a row), opened (how often in a row), until (no try before), probe (whose lease
--              ends then), disabled (since when), status (that disabled it), label (what it is shown as). Without
--              `opened` it was not down: what stands in `until` is what it asked for
-- ARGV  1      ask | up | down | gone | back
--       ask:   2 for how long a probe may take
--       up:    it answered. 2 for how long it wants no other try
--       down:  it did not, or with a 5xx. 2 the same; 3 failures in a row that open the circuit; 4 for how long at
--              first; 5 at most; 6 1 if this was the probe; 7 the label
--       gone:  2 the status; 3 the label
--       back:  nothing came of the probe, and nothing was learnt
-- Gives for ask {go | probe | held | open | busy | disabled, milliseconds to wait}; for the others {1 if this opened or
-- closed the circuit, milliseconds until the next try}

local KEPT = 7 * 86400000

local function number(name)
  return tonumber(redis.call('HGET', KEYS[1], name) or '') or 0
end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local what = ARGV[1]

if redis.call('EXISTS', KEYS[1]) == 0 and (what == 'ask' or what == 'back') then
  return {'go', 0}
end
if redis.call('HEXISTS', KEYS[1], 'disabled') == 1 then
  return {'disabled', 0}
end

local until_ = number('until')
local opened = number('opened')

if what == 'ask' then
  if until_ > now then
    return {opened > 0 and 'open' or 'held', until_ - now}
  end
  if opened == 0 then
    return {'go', 0}
  end
  local probe = number('probe')
  if probe > now then
    return {'busy', probe - now}
  end
  redis.call('HSET', KEYS[1], 'probe', now + ARGV[2])
  return {'probe', 0}
end

if what == 'back' then
  redis.call('HDEL', KEYS[1], 'probe')
  return {0, 0}
end

if what == 'gone' then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'disabled', now, 'status', ARGV[2], 'label', ARGV[3])
  return {1, 0}
end

local hold = tonumber(ARGV[2])

if what == 'up' then
  local closed = opened > 0 and 1 or 0
  if hold > 0 then
    redis.call('DEL', KEYS[1])
    until_ = math.max(closed == 1 and 0 or until_, now + hold)
    redis.call('HSET', KEYS[1], 'until', until_)
    redis.call('PEXPIRE', KEYS[1], until_ - now + KEPT)
    return {closed, until_ - now}
  end
  if closed == 0 and until_ > now then
    -- Held off by what it said to another try; this answer is of one that was on its way by then.
    redis.call('HDEL', KEYS[1], 'failures')
    return {0, until_ - now}
  end
  redis.call('DEL', KEYS[1])
  return {closed, 0}
end

-- down
local opens = 0
if opened == 0 then
  if redis.call('HINCRBY', KEYS[1], 'failures', 1) >= tonumber(ARGV[3]) then
    opens = 1
  end
elseif ARGV[6] == '1' then
  opens = 1
  redis.call('HINCRBY', KEYS[1], 'failures', 1)
  redis.call('HDEL', KEYS[1], 'probe')
end
if opens == 1 then
  opened = opened + 1
  until_ = math.max(until_, now + math.min(ARGV[4] * 2 ^ math.min(opened - 1, 30), tonumber(ARGV[5])))
  redis.call('HSET', KEYS[1], 'opened', opened)
end
if hold > 0 then
  until_ = math.max(until_, now + hold)
end
if until_ > 0 then
  redis.call('HSET', KEYS[1], 'until', string.format('%d', until_))
end
redis.call('HSET', KEYS[1], 'label', ARGV[7])
redis.call('PEXPIRE', KEYS[1], math.max(until_ - now, 0) + KEPT)
return {opens, math.max(until_ - now, 0)}
