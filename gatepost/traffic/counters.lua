-- Counters of quotas that several nodes share: one call does many operations, and each call is whole.
--
-- KEYS[1]  the hash of the caller: "epoch", which each new connection raises, so that a call of an
--          old one that arrives late is not carried out; "seq" and "reply" of its last call that
--          counted anything, by which it learns after an interruption what had been carried out.
-- ARGV     epoch, or empty for one who only reads; number of the call; seconds, or empty for the
--          time of this server; prefix of all keys; then the operations, see below.
-- Before this text stand: STEPS GRAIN RESERVED MAX_IN_FAMILY MAX_IN_FAMILIES MAX_COUNT.
--
-- One counter is the hash <prefix>c:<window>:<unit>:<name>. Its fields: a number is a step of the
-- window with what was counted in it; p<number> is what is reserved until <number> x GRAIN seconds.
--
-- Numbers are doubles here, exact up to 2^53. A sum beyond it comes out as 2^53 or more, which is
-- over every limit, as none is above 2^53 - 1. They are written with %.0f: tostring() has 14 digits.

local epoch, prefix = ARGV[1], ARGV[4]
if epoch ~= '' and redis.call('HGET', KEYS[1], 'epoch') ~= epoch then
  return 'stale'
end
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local at = 4
local function word()
  at = at + 1
  return ARGV[at]
end

local function whole(number)
  return string.format('%.0f', number)
end

local seen, changed = {}, {}

local function drop_expired(c)
  for step, count in pairs(c.steps) do
    if step < c.step - STEPS then
      c.steps[step] = nil
      c.gone[whole(step)] = true
    else
      c.used = c.used + count
    end
  end
end

local function counter(key)
  local c = seen[key]
  if c then
    return c
  end
  local window = tonumber(key:match('^%d+'))
  local step = math.floor(now * (STEPS / window))
  c = { key = key, window = window, now_step = step, step = step, steps = {}, held = {},
        used = 0, pending = 0, put = {}, gone = {} }
  seen[key] = c
  local flat = redis.call('HGETALL', prefix .. 'c:' .. key)
  for i = 1, #flat, 2 do
    local name, count = flat[i], tonumber(flat[i + 1])
    if name:byte() == 112 then
      local bucket = tonumber(name:sub(2))
      if bucket * GRAIN > now then
        c.held[bucket] = count
        c.pending = c.pending + count
      else
        c.gone[name] = true
      end
    else
      local number = tonumber(name)
      c.steps[number] = count
      -- A clock that was set back opens nothing.
      c.step = math.max(c.step, number)
    end
  end
  drop_expired(c)
  return c
end

local function put(c, name, count)
  changed[c.key] = c
  if count > 0 then
    c.put[name], c.gone[name] = count, nil
  else
    c.put[name], c.gone[name] = nil, true
  end
end

local function add(c, step, amount)
  amount = math.min(amount, MAX_COUNT - c.used)
  if amount > 0 then
    c.used = c.used + amount
    c.steps[step] = (c.steps[step] or 0) + amount
    put(c, whole(step), c.steps[step])
  end
end

local function take_back(c, step, amount)
  amount = math.min(amount, c.steps[step] or 0)
  if amount > 0 then
    c.used = c.used - amount
    c.steps[step] = c.steps[step] - amount
    put(c, whole(step), c.steps[step])
  end
end

-- A reservation that has ended already is in no bucket any more.
local function hold(c, bucket, amount)
  if amount < 0 then
    amount = -math.min(-amount, c.held[bucket] or 0)
  end
  if amount ~= 0 then
    c.pending = c.pending + amount
    c.held[bucket] = (c.held[bucket] or 0) + amount
    put(c, 'p' .. whole(bucket), c.held[bucket])
  end
end

local function opens_in(c, amount, limit)
  local over = c.used + c.pending + amount - limit
  if over <= 0 then
    return 0
  end
  local steps = {}
  for step in pairs(c.steps) do
    steps[#steps + 1] = step
  end
  table.sort(steps)
  local last = c.step
  for _, step in ipairs(steps) do
    if over <= 0 then
      break
    end
    over = over - c.steps[step]
    last = step
  end
  if over > 0 then
    last = c.step
  end
  return math.max((last + STEPS + 1) * c.window / STEPS - now, 0)
end

-- The counter of one of a family, or the one that they share when they are too many.
local function member(key, family)
  local own, all = prefix .. 'f:' .. family, prefix .. 'families'
  local until_s = redis.call('ZSCORE', own, key)
  local c = counter(key)
  if not until_s or tonumber(until_s) <= now then
    local shared = counter(family)
    if shared.used > 0 or shared.pending > 0 then
      return shared, 1
    end
    redis.call('ZREMRANGEBYSCORE', own, '-inf', now)
    redis.call('ZREMRANGEBYSCORE', all, '-inf', now)
    if redis.call('ZCARD', own) >= MAX_IN_FAMILY or redis.call('ZCARD', all) >= MAX_IN_FAMILIES then
      return shared, 1
    end
  end
  local ends = whole(now + c.window * (STEPS + 1) / STEPS + RESERVED + GRAIN + 1)
  for _, name in ipairs({ own, all }) do
    redis.call('ZADD', name, ends, key)
    redis.call('EXPIRE', name, 2800000)
  end
  return c, 0
end

-- "bucket amount key", so many times: reservations that end now.
local function drops(count)
  for _ = 1, count do
    local bucket, amount, key = word():match('^(%S+) (%S+) (.*)$')
    hold(counter(key), tonumber(bucket), -tonumber(amount))
  end
end

-- "limit take bucket amount kin key", so many times, with the family behind it where kin is 1:
-- what a message counts for, and what it has reserved of that already.
local function claims(count)
  local found = {}
  for i = 1, count do
    local limit, take, bucket, amount, kin, key = word():match('^(%S+) (%S+) (%S+) (%S+) (%S) (.*)$')
    local claim = { limit = tonumber(limit), take = tonumber(take), bucket = tonumber(bucket),
                    amount = tonumber(amount), shared = 0 }
    if kin == '1' then
      claim.c, claim.shared = member(key, word())
    else
      claim.c = counter(key)
    end
    claim.amount = math.min(claim.amount, claim.c.held[claim.bucket] or 0)
    found[i] = claim
  end
  return found
end

local function shortage(found)
  local worst
  for i, claim in ipairs(found) do
    local c, more = claim.c, claim.take - claim.amount
    local used = c.used + c.pending
    if more > 0 and used + more > claim.limit then
      local opens = -1
      if claim.take <= claim.limit then
        opens = opens_in(c, more, claim.limit)
      end
      if not worst or opens < 0 or (worst.opens >= 0 and opens > worst.opens) then
        worst = { index = i, used = used, opens = opens }
      end
    end
  end
  return worst and string.format('1 %d %.0f %.6f', worst.index, worst.used, worst.opens)
end

local operations = {}
local counts = false

-- "r" drops claims …: reserve.
function operations.r()
  local dropped, claimed = tonumber(word()), tonumber(word())
  drops(dropped)
  local found = claims(claimed)
  local short = shortage(found)
  if short then
    return short
  end
  local bucket = math.ceil((now + RESERVED) / GRAIN)
  local said = { '0', whole(bucket) }
  for _, claim in ipairs(found) do
    hold(claim.c, claim.bucket, -claim.amount)
    hold(claim.c, bucket, claim.take)
    said[#said + 1] = claim.shared .. ' ' .. whole(claim.c.used) .. ' 0'
  end
  return table.concat(said, ' ')
end

-- "c" drops claims …: count.
function operations.c()
  counts = true
  local dropped, claimed = tonumber(word()), tonumber(word())
  drops(dropped)
  local found = claims(claimed)
  local short = shortage(found)
  if short then
    return short
  end
  local said = { '0', '0' }
  for _, claim in ipairs(found) do
    add(claim.c, claim.c.step, claim.take)
    said[#said + 1] = claim.shared .. ' ' .. whole(claim.c.used) .. ' ' .. whole(claim.c.step)
  end
  return table.concat(said, ' ')
end

-- "d" drops …: end reservations.
function operations.d()
  drops(tonumber(word()))
  return '0'
end

-- "b" number, "step amount key" …: give back.
function operations.b()
  counts = true
  for _ = 1, tonumber(word()) do
    local step, amount, key = word():match('^(%S+) (%S+) (.*)$')
    take_back(counter(key), tonumber(step), tonumber(amount))
  end
  return '0'
end

-- "a" "kin key" with the family behind it where kin is 1, "age:amount …": add what was counted
-- elsewhere, so many steps ago.
function operations.a()
  counts = true
  local kin, key = word():match('^(%S) (.*)$')
  local c
  if kin == '1' then
    c = member(key, word())
  else
    c = counter(key)
  end
  for age, amount in word():gmatch('(%d+):(%d+)') do
    local step = c.now_step - tonumber(age)
    if step >= c.step - STEPS then
      add(c, step, tonumber(amount))
    end
  end
  return '0 ' .. whole(c.used)
end

-- "u" number, "limit key" …: how far are they used?
function operations.u()
  local said = { '0' }
  for _ = 1, tonumber(word()) do
    local limit, key = word():match('^(%S+) (.*)$')
    local c = counter(key)
    local opens = opens_in(c, 1, tonumber(limit))
    said[#said + 1] = string.format('%.0f %.0f %.6f', c.used, c.pending, opens)
  end
  return table.concat(said, ' ')
end

-- "h" node: it is alive. Returns how many are.
function operations.h()
  local nodes = prefix .. 'nodes'
  redis.call('ZADD', nodes, now, word())
  redis.call('ZREMRANGEBYSCORE', nodes, '-inf', now - 60)
  redis.call('EXPIRE', nodes, 2800000)
  redis.call('EXPIRE', prefix .. 'era', 2800000)
  redis.call('EXPIRE', KEYS[1], 86400)
  return '0 ' .. redis.call('ZCOUNT', nodes, now - 10, '+inf')
end

-- "l" node: it leaves.
function operations.l()
  redis.call('ZREM', prefix .. 'nodes', word())
  return '0'
end

local replies = { string.format('%.6f', now) }
while at < #ARGV do
  replies[#replies + 1] = operations[word()]()
end
for key, c in pairs(changed) do
  local name, fields, gone = prefix .. 'c:' .. key, {}, {}
  for field, count in pairs(c.put) do
    fields[#fields + 1] = field
    fields[#fields + 1] = whole(count)
  end
  for field in pairs(c.gone) do
    gone[#gone + 1] = field
  end
  if #fields > 0 then
    redis.call('HSET', name, unpack(fields))
  end
  if #gone > 0 then
    redis.call('HDEL', name, unpack(gone))
  end
  local life = c.window * (STEPS + 1) / STEPS + 1
  if c.pending > 0 then
    life = math.max(life, RESERVED + GRAIN + 1)
  end
  redis.call('PEXPIRE', name, whole(math.ceil(life * 1000)))
end
local said = table.concat(replies, '\n')
if counts and epoch ~= '' then
  redis.call('HSET', KEYS[1], 'seq', ARGV[2], 'reply', said)
end
return said
