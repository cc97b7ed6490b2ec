"""What runs inside Redis: each verb is one script, so nobody sees or does anything in between.

Numbers that may need 64 bits stay text: Lua's numbers are exact to 53 bits only, `HINCRBY` to 64. All keys begin with
one prefix, whose hash tag keeps them on one node of a cluster.
"""

from __future__ import annotations

from typing import Final

_COMMON: Final = """
local prefix, given_now, asked = KEYS[1], ARGV[1], cjson.decode(ARGV[2])
local holdings, expiry = prefix .. ':holdings', prefix .. ':expiry'

-- Microseconds since the epoch by the server's clock, which tests replace.
local function now()
  if given_now ~= '' then return tonumber(given_now) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function at_most(one, other)
  if #one ~= #other then return #one < #other end
  return one <= other
end

local function minus(amount) return amount == '0' and '0' or '-' .. amount end

local function counters(scope) return prefix .. ':used:' .. scope end
local function used(scope, limit) return redis.call('HGET', counters(scope), limit) end
local function known(scope) redis.call('SADD', prefix .. ':scopes', scope) end

-- Each amount is {scope, limit, amount}; the answer has {scope, limit, amount, returned, value after}.
local function subtract(amounts)
  local answer = {}
  for _, entry in ipairs(amounts) do
    local scope, limit, amount = entry[1], entry[2], entry[3]
    local held, returned, after = used(scope, limit), false, false
    if held then
      if at_most(held, amount) then
        returned, after = held, '0'
        redis.call('HSET', counters(scope), limit, '0')
      else
        redis.call('HINCRBY', counters(scope), limit, minus(amount))
        returned, after = amount, used(scope, limit)
      end
    end
    table.insert(answer, {scope, limit, amount, returned, after})
  end
  return answer
end

local function forget(place)
  local stored = redis.call('HGET', holdings, place)
  if not stored then return {} end
  redis.call('HDEL', holdings, place)
  redis.call('ZREM', expiry, place)
  return cjson.decode(cjson.decode(stored).amounts)
end

local function sweep(instant)
  local answer = {}
  for _, place in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', instant)) do
    for _, entry in ipairs(subtract(forget(place))) do table.insert(answer, entry) end
  end
  return answer
end

local function is_expired(place, instant)
  local score = redis.call('ZSCORE', expiry, place)
  return score and tonumber(score) <= instant
end
"""

TAKE: Final = (
    _COMMON
    + """
local function values()
  local answer = {}
  for _, claim in ipairs(asked.claims) do table.insert(answer, used(claim[1], claim[2])) end
  return answer
end

local function blocking()
  for index, claim in ipairs(asked.claims) do
    local room = claim[4]
    if room == '' or not at_most(used(claim[1], claim[2]), room) then return index end
  end
  return 0
end

local instant = now()
if asked.place ~= '' then
  local stored = redis.call('HGET', holdings, asked.place)
  if stored and is_expired(asked.place, instant) then
    sweep(instant)
  elseif stored then
    local same = cjson.decode(stored).amounts == asked.amounts
    return {same and 'held' or 'conflict', 0, values()}
  end
end
for _, claim in ipairs(asked.claims) do
  if not used(claim[1], claim[2]) then return {'unseeded', 0, values()} end
end
local refused = blocking()
if refused > 0 then
  sweep(instant)
  refused = blocking()
end
if refused > 0 then return {'refused', refused, values()} end
for _, claim in ipairs(asked.claims) do redis.call('HINCRBY', counters(claim[1]), claim[2], claim[3]) end
if asked.place ~= '' then
  redis.call('HSET', holdings, asked.place, cjson.encode({amounts = asked.amounts}))
  if asked.ttl ~= '' then
    redis.call('ZADD', expiry, string.format('%.0f', instant + tonumber(asked.ttl)), asked.place)
  end
end
return {'taken', 0, values()}
"""
)

GIVE_BACK: Final = _COMMON + "return subtract(asked.amounts)"

SEED: Final = (
    _COMMON
    + """
known(asked.scope)
return redis.call('HSETNX', counters(asked.scope), asked.limit, asked.value)
"""
)

PUT: Final = (
    _COMMON
    + """
local scope, limit, value = asked.scope, asked.limit, asked.value
local previous = used(scope, limit) or '0'
local sum = counters('')
if not used('', limit) then
  redis.call('HSET', sum, limit, '0')
  for _, other in ipairs(redis.call('SMEMBERS', prefix .. ':scopes')) do
    if other ~= '' then redis.call('HINCRBY', sum, limit, used(other, limit) or '0') end
  end
end
known(scope)
redis.call('HSET', counters(scope), limit, value)
redis.call('HINCRBY', sum, limit, minus(previous))
redis.call('HINCRBY', sum, limit, value)
if string.sub(used('', limit), 1, 1) == '-' then redis.call('HSET', sum, limit, '0') end
return {previous, used('', limit)}
"""
)

SETTLE: Final = (
    _COMMON
    + """
if redis.call('HEXISTS', holdings, asked.place) == 0 or is_expired(asked.place, now()) then return 'gone' end
redis.call('ZREM', expiry, asked.place)
return 'held'
"""
)

RELEASE: Final = _COMMON + "return subtract(forget(asked.place))"

SWEEP: Final = _COMMON + "return sweep(now())"

METER: Final = (
    _COMMON
    + """
local is_new = redis.call('SADD', prefix .. ':meter_events', asked.event)
local totals = {}
for _, entry in ipairs(asked.entries) do
  local amount = is_new == 1 and entry[2] or '0'
  redis.call('HINCRBY', prefix .. ':meters', entry[1], amount)
  table.insert(totals, redis.call('HGET', prefix .. ':meters', entry[1]))
end
return {is_new, totals}
"""
)

SAVE_LICENSE: Final = (
    _COMMON
    + """
local key = prefix .. ':license'
local held = redis.call('HMGET', key, 'epoch', 'revision', 'identity')
local record = asked.record
if held[1] then
  local same_epoch = held[1] == record.epoch
  local is_newer = not same_epoch and at_most(held[1], record.epoch)
  if same_epoch then is_newer = held[2] ~= record.revision and at_most(held[2], record.revision) end
  if not is_newer and held[3] ~= asked.instead_of then return 0 end
end
redis.call('DEL', key)
for name, value in pairs(record) do redis.call('HSET', key, name, value) end
return 1
"""
)

SAVE_MARK: Final = (
    _COMMON
    + """
local held = redis.call('HGET', prefix .. ':license', 'mark')
if held and at_most(held, asked.mark) then redis.call('HSET', prefix .. ':license', 'mark', asked.mark) end
return 1
"""
)

TAKE_LEASE: Final = (
    _COMMON
    + """
local key, instant = prefix .. ':lease:' .. asked.name, now()
local held = redis.call('HMGET', key, 'holder', 'until')
if held[1] and held[1] ~= asked.holder and instant < tonumber(held[2]) then return {0, held[2]} end
local ends = string.format('%.0f', instant + tonumber(asked.ttl))
redis.call('HSET', key, 'holder', asked.holder, 'until', ends)
return {1, ends}
"""
)

DROP_LEASE: Final = (
    _COMMON
    + """
local key = prefix .. ':lease:' .. asked.name
if redis.call('HGET', key, 'holder') == asked.holder then return redis.call('DEL', key) end
return 0
"""
)
