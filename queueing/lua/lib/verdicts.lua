-- How one item of a call ends.
local function publish(row, stream_max)
  if not row.event then return end
  redis.call('XADD', UPDATES, 'MAXLEN', '~', stream_max, '*', 'event', row.event)
  redis.call('PUBLISH', row.channel, row.event)
end

-- The caller forgets the symbols that this is done for, all of them together.
local function finish(symbol, item, row, stream_max)
  record_outcome(item.batch, symbol, 'updated')
  publish(row, stream_max)
end

local function bury(symbol, item, row)
  item.attempts = item.attempts + 1
  if row.kind == 'transient' then item.deaths = (item.deaths or 0) + 1 end
  record_outcome(item.batch, symbol, 'failed', row.error)
  bury_item(symbol, item, row.kind, row.error)
end

local function come_back(symbol, item, delay_ms)
  apply_wanted(item)
  save_item(symbol, item)
  if delay_ms > 0 then
    redis.call('ZADD', DELAYED, now + delay_ms, symbol)
  else
    put_in_queue(symbol, item, now)
  end
end

local function go_on(symbol, item, row, stream_max)
  item.attempts, item.crashes, item.last_error, item.deaths = 0, 0, nil, nil
  forget_dead({ symbol })
  item.priority, item.score, item.enqueued_at_ms = row.priority, exact(next_score(row.priority)), now
  count('continued')
  publish(row, stream_max)
  come_back(symbol, item, 0)
end

local function retry(symbol, item, row)
  -- One that died before, and was never refreshed since, has no more than one attempt.
  if item.deaths then return bury(symbol, item, { kind = 'transient', error = row.error }) end
  item.attempts = item.attempts + 1
  item.crashes = 0 -- a worker lived through the whole of it: earlier deaths had another cause
  item.priority, item.score = row.priority, exact(next_score(row.priority))
  record_outcome(item.batch, symbol, 'retrying', row.error)
  count('retried')
  come_back(symbol, item, row.delay_ms)
end

local function give_back(symbol, item, row)
  item.solo = row.solo or item.solo
  item.group = row.group or item.group
  count('given_back')
  come_back(symbol, item, row.delay_ms or 0)
end

-- provider_away: while the circuit breaker is open an item comes back as it was, as waiting for the provider is no
-- error of its own.
local function end_item(symbol, item, row, provider_away, stream_max)
  if row.verb == 'done' then return finish(symbol, item, row, stream_max) end
  if row.error then item.last_error = row.error end
  end_lease(symbol, item)
  if row.verb == 'again' then return go_on(symbol, item, row, stream_max) end
  if provider_away and (row.verb == 'retry' or row.kind == 'transient') then return give_back(symbol, item, {}) end
  if row.verb == 'bury' then return bury(symbol, item, row) end
  if row.verb == 'retry' then return retry(symbol, item, row) end
  give_back(symbol, item, row)
end
