-- What every script may use: its arguments, numbers, counters.
-- KEYS and the bands CRITICAL and LOWEST are declared by lua_source.py, which puts together what a script names.
-- ARGV[1]  JSON object of named arguments, which each script lists. Where it names the policy, also
--   policy  limit (0: none), window_ms, send_ms, guard_ms, spacing_ms, tolerance_ms, grace_ms, aging_ms, breaker_*
--   machine?, up_ms: the caller's machine, and how long it runs
--   now_ms? replaces the clock (tests, simulation)
local args = cjson.decode(ARGV[1])
local policy = args.policy

-- Numbers as text: tostring, .. and cjson keep 14 digits only. As an argument of a command a number keeps all of them.
local function ms(number) return string.format('%.0f', number) end
local function exact(number) return string.format('%.17g', number) end
-- The number of a field; nil: it has none, or (an external writer changed it) one that is no time, span or count.
local END_MS = 1e14
local function number_of(text)
  local number = tonumber(text or nil)
  return number and number > -END_MS and number < END_MS and number or nil
end
-- The JSON object or list of a field; an empty one if there is none, or it cannot be read.
local function decoded(text)
  local read, value = pcall(cjson.decode, text or '')
  return read and type(value) == 'table' and value or {}
end
-- Adds to a field and returns the sum. One that an external writer spoilt, or that ran over, begins anew.
local function add(key, field, by)
  local sum = redis.pcall('HINCRBY', key, field, by)
  if type(sum) == 'number' then return sum end
  redis.call('HSET', key, field, by)
  return tonumber(by)
end
-- One command with many arguments, in parts: Lua passes some thousand at most. Returns the sum of its answers.
local function call_many(command, key, arguments)
  local sum = 0
  for from = 1, #arguments, 1000 do
    sum = sum + redis.call(command, key, unpack(arguments, from, math.min(from + 999, #arguments)))
  end
  return sum
end
local function count(name, by) add(COUNTERS, name, by or 1) end
local function answer(fields)
  fields.now_ms = wall
  return cjson.encode(fields)
end
