-- The histograms, in one hash. Fields of one: <name>:<bound in ms> and <name>:inf, each the number of what fell into
-- this bucket alone; <name>:sum in ms. The bounds are those of timings.py.
local function observe(tally, name, took_ms, bounds)
  local bucket = 'inf'
  for _, bound in ipairs(bounds) do
    if took_ms <= bound then
      bucket = ms(bound)
      break
    end
  end
  local bucket_field, sum_field = name .. ':' .. bucket, name .. ':sum'
  tally[bucket_field] = (tally[bucket_field] or 0) + 1
  tally[sum_field] = (tally[sum_field] or 0) + math.max(0, took_ms)
end

local function keep_timings(tally)
  for field, by in pairs(tally) do add(TIMINGS, field, ms(by)) end
end
