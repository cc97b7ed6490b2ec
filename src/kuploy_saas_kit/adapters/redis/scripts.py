"""What runs inside Redis: each verb is one command or one script, so nobody sees or does anything in between.

Numbers that may need 64 bits stay text: Lua's numbers are exact to 53 bits only, `HINCRBY` to 64. All keys begin with
one prefix, whose hash tag keeps them on one node of a cluster. Amounts of a holding are JSON: [[scope, limit, amount]].
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

SWEPT_AT_ONCE: Final = 500
"""So many holdings are returned in one go at most: while a script runs, everyone else waits."""


class Script:
    """The text of a script, and the digest that the server knows it by once it has run it."""

    __slots__ = ("digest", "text")

    def __init__(self, *parts: str) -> None:
        self.text = "".join(parts).encode()
        self.digest = sha1(self.text, usedforsecurity=False).hexdigest().encode()


_AT_MOST: Final = """
local function at_most(one, other)
  if #one ~= #other then return #one < #other end
  return one <= other
end
"""

_INSTANT: Final = """
-- Microseconds since the epoch by the server's clock, which tests replace.
local function instant(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
"""

_SUBTRACT: Final = (
    _AT_MOST
    + """
-- What was returned and the value after it; false twice where there is no counter.
local function subtract(counters, limit, amount)
  local used = redis.call('HGET', counters, limit)
  if not used then return false, false end
  if at_most(used, amount) then
    redis.call('HSET', counters, limit, '0')
    return used, '0'
  end
  if amount ~= '0' then redis.call('HINCRBY', counters, limit, '-' .. amount) end
  return amount, redis.call('HGET', counters, limit)
end
"""
)

_HOLDINGS: Final = (
    _SUBTRACT
    + f"""
local at_once = {SWEPT_AT_ONCE}
"""
    + """
-- Return what a place holds; the answer gets {scope, limit, amount, returned, value after} for each amount.
local function release(prefix, place, answer)
  local held = redis.call('HGET', prefix .. ':holdings', place)
  local amounts = cjson.decode(held or '[]')
  redis.call('HDEL', prefix .. ':holdings', place)
  redis.call('ZREM', prefix .. ':expiry', place)
  for _, entry in ipairs(amounts) do
    local returned, after = subtract(prefix .. ':used:' .. entry[1], entry[2], entry[3])
    answer[#answer + 1] = {entry[1], entry[2], entry[3], returned, after}
  end
end

-- The amounts of what expired first, and whether there may be more.
local function sweep(prefix, now)
  local answer = {}
  local places = redis.call('ZRANGEBYSCORE', prefix .. ':expiry', '-inf', now, 'LIMIT', 0, at_once)
  for _, place in ipairs(places) do release(prefix, place, answer) end
  return answer, #places == at_once
end

local function is_expired(prefix, place, now)
  local ends = redis.call('ZSCORE', prefix .. ':expiry', place)
  return ends and tonumber(ends) <= now
end
"""
)

TAKE: Final = Script(
    """
-- KEYS: the counters of each claim's scope. ARGV: {limit, amount, room} of each claim, then prefix, now if anybody but
-- the server tells it, and under a key place, amounts, ttl.
-- The answer: the values after the take, or {outcome, blocking claim, values}; the outcome is 'again' where more may
-- have expired than one script returns.
local count = #KEYS
local rest = 3 * count
if not ARGV[rest + 3] then
  -- The common case, without anything that it does not need. Numbers of 15 digits and their sums are exact in Lua.
  local fits = true
  for i = 1, count do
    local used, amount, room = redis.call('HGET', KEYS[i], ARGV[3 * i - 2]), ARGV[3 * i - 1], ARGV[3 * i]
    if not used or #used > 15 or #amount > 15 or #used > #room or (#used == #room and used > room)
        or string.find(used, '%D') then
      fits = false
      break
    end
  end
  if fits then
    local values = {}
    for i = 1, count do values[i] = redis.call('HINCRBY', KEYS[i], ARGV[3 * i - 2], ARGV[3 * i - 1]) end
    return values
  end
end
""",
    _INSTANT,
    _HOLDINGS,
    """
local prefix, now = ARGV[rest + 1], instant(ARGV[rest + 2] or '')
local place, amounts, ttl = ARGV[rest + 3], ARGV[rest + 4], ARGV[rest + 5]

local function values()
  local answer = {}
  for i = 1, count do answer[i] = redis.call('HGET', KEYS[i], ARGV[3 * i - 2]) end
  return answer
end

local function blocking(used)
  for i = 1, count do
    local room = ARGV[3 * i]
    if room == '' or not at_most(used[i], room) then return i end
  end
end

if place then
  local held = redis.call('HGET', prefix .. ':holdings', place)
  if held and is_expired(prefix, place, now) then
    release(prefix, place, {})
    sweep(prefix, now)
  elseif held then
    return {held == amounts and 'held' or 'conflict', 0, values()}
  end
end
local used = values()
for i = 1, count do
  if not used[i] then return {'unseeded', 0, used} end
  redis.call('HINCRBY', KEYS[i], ARGV[3 * i - 2], 0) -- what is no number fails here, before anything is added
end
if blocking(used) then
  local _, is_more = sweep(prefix, now)
  used = values()
  local refused = blocking(used)
  if refused then return {is_more and 'again' or 'refused', refused, used} end
end
for i = 1, count do redis.call('HINCRBY', KEYS[i], ARGV[3 * i - 2], ARGV[3 * i - 1]) end
if place then
  redis.call('HSET', prefix .. ':holdings', place, amounts)
  if ttl ~= '' then redis.call('ZADD', prefix .. ':expiry', string.format('%.0f', now + tonumber(ttl)), place) end
end
return values()
""",
)

GIVE_BACK: Final = Script(
    _SUBTRACT,
    """
-- KEYS: the counters of each scope. ARGV: {limit, amount} of each. The answer: {returned, value after} of each.
-- A server that is out of memory refuses a script's first write if that may grow. This one never does, and changes
-- nothing; after it all are done.
if KEYS[1] then redis.call('PERSIST', KEYS[1]) end
local answer = {}
for i = 1, #KEYS do
  answer[2 * i - 1], answer[2 * i] = subtract(KEYS[i], ARGV[2 * i - 1], ARGV[2 * i])
end
return answer
""",
)

SEED: Final = Script("""
-- KEYS: the scope's counters, all scopes. ARGV: limit, value, scope.
redis.call('SADD', KEYS[2], ARGV[3])
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
""")

PUT: Final = Script("""
-- KEYS: the org's counters, all scopes, the instance's counters. ARGV: limit, value, org, what counters begin with.
local limit, value, sum = ARGV[1], ARGV[2], KEYS[3]
local previous = redis.call('HGET', KEYS[1], limit) or '0'
local before = redis.call('HGET', sum, limit)
-- The sum moves first: it alone may be beyond 64 bits, and is then as it was.
local parts = {previous == '0' and '0' or '-' .. previous, value}
if not before then
  for _, scope in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if scope ~= '' then table.insert(parts, 1, redis.call('HGET', ARGV[4] .. scope, limit) or '0') end
  end
end
for _, part in ipairs(parts) do
  local moved = redis.pcall('HINCRBY', sum, limit, part)
  if type(moved) == 'table' then
    if before then redis.call('HSET', sum, limit, before) else redis.call('HDEL', sum, limit) end
    return moved
  end
end
if string.sub(redis.call('HGET', sum, limit), 1, 1) == '-' then redis.call('HSET', sum, limit, '0') end
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[1], limit, value)
return {previous, redis.call('HGET', sum, limit)}
""")

SETTLE: Final = Script(
    _INSTANT,
    """
-- KEYS: holdings, expiry. ARGV: place, now.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 'gone' end
local ends = redis.call('ZSCORE', KEYS[2], ARGV[1])
if ends and tonumber(ends) <= instant(ARGV[2]) then return 'gone' end
redis.call('ZREM', KEYS[2], ARGV[1])
return 'held'
""",
)

RELEASE: Final = Script(
    _HOLDINGS,
    """
-- KEYS: holdings, expiry. ARGV: prefix, place.
local answer = {}
release(ARGV[1], ARGV[2], answer)
return answer
""",
)

SWEEP: Final = Script(
    _INSTANT,
    _HOLDINGS,
    """
-- KEYS: holdings, expiry. ARGV: prefix, now. The answer: whether there may be more, and the amounts.
local answer, is_more = sweep(ARGV[1], instant(ARGV[2]))
return {is_more and 1 or 0, answer}
""",
)

METER: Final = Script("""
-- KEYS: events, meters. ARGV: event, then {place, amount} of each entry.
local is_new, totals = redis.call('SADD', KEYS[1], ARGV[1]), {}
for i = 2, #ARGV, 2 do
  local total = redis.pcall('HINCRBY', KEYS[2], ARGV[i], is_new == 1 and ARGV[i + 1] or '0')
  if type(total) == 'table' then  -- beyond 64 bits: take back what was added before
    for j = 2, i - 2, 2 do redis.call('HINCRBY', KEYS[2], ARGV[j], '-' .. ARGV[j + 1]) end
    redis.call('SREM', KEYS[1], ARGV[1])
    return total
  end
  totals[i / 2] = redis.call('HGET', KEYS[2], ARGV[i])
end
return {is_new, totals}
""")

SAVE_LICENSE: Final = Script(
    _AT_MOST,
    """
-- KEYS: the license. ARGV: epoch, revision, the identity of the record to replace, then names and values to store.
local held = redis.call('HMGET', KEYS[1], 'epoch', 'revision', 'identity')
if held[1] then
  local is_newer = held[1] ~= ARGV[1] and at_most(held[1], ARGV[1])
  if held[1] == ARGV[1] then is_newer = held[2] ~= ARGV[2] and at_most(held[2], ARGV[2]) end
  if not is_newer and held[3] ~= ARGV[3] then return 0 end
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
return 1
""",
)

SAVE_MARK: Final = Script(
    _AT_MOST,
    """
-- KEYS: the license. ARGV: mark.
local held = redis.call('HGET', KEYS[1], 'mark')
if held and at_most(held, ARGV[1]) then redis.call('HSET', KEYS[1], 'mark', ARGV[1]) end
return 1
""",
)

FIRST: Final = Script("""
-- KEYS: a text. ARGV: what it becomes where it is none yet.
redis.call('SETNX', KEYS[1], ARGV[1])
return redis.call('GET', KEYS[1])
""")

TAKE_LEASE: Final = Script(
    _INSTANT,
    """
-- KEYS: the lease. ARGV: holder, ttl, now.
local now, held = instant(ARGV[3]), redis.call('HMGET', KEYS[1], 'holder', 'until')
if held[1] and held[1] ~= ARGV[1] and now < tonumber(held[2]) then return {0, held[2]} end
local ends = string.format('%.0f', now + tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'until', ends)
return {1, ends}
""",
)

DROP_LEASE: Final = Script("""
-- KEYS: the lease. ARGV: holder.
if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
""")

PUBLISH: Final = Script("""
-- KEYS: the feed, its log. ARGV: org ('' for everyone), an epoch if there is none yet, entries to keep, channel.
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'end', 1)
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('LTRIM', KEYS[2], -ARGV[3], -1)
redis.call('PUBLISH', ARGV[4], '')
return 1
""")

CHANGES: Final = Script(
    _INSTANT,
    """
-- KEYS: the feed, its log. ARGV: the position that the reader is at, or '', an epoch if there is none yet, now.
-- The answer: epoch, run, end, now, and the entries after the position, as far as they are kept.
-- A server that was started again, or took over for another, may lack what it had answered: its run tells, where the
-- server names one. A nil would end the answer.
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[2])
local feed = redis.call('HMGET', KEYS[1], 'epoch', 'end')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local last, entries = feed[2] or '0', {}
local behind = ARGV[1] == '' and 0 or last - ARGV[1]
if behind > 0 then entries = redis.call('LRANGE', KEYS[2], -behind, -1) end
return {feed[1], run, last, string.format('%.0f', instant(ARGV[3])), entries}
""",
)
