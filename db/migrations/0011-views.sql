-- Views for readers: coverage, bars of 15 minutes to a day made of the 5-minute bars, and the latest
-- prices. A view of assetq's is replaced; one whose name the user has taken for something else is
-- not made; one that was dropped is made again by the next `assetq migrate`. (This file took the
-- place of 0006-, 0007-, 0009- and 0010-views, which older databases have applied: it replaces what
-- they made.)

-- A tenth of the bars may lack in a complete day: no ticks in five minutes make no bar.
DO $assetq$
BEGIN
    IF to_regclass('market_data.coverage') IS NULL
       OR obj_description(to_regclass('market_data.coverage'), 'pg_class') LIKE 'assetq:%' THEN
        CREATE OR REPLACE VIEW market_data.coverage AS
        SELECT s.symbol::text AS symbol,
               t.timeframe,
               d.day::date AS day,
               CASE
                   WHEN c.day IS NULL AND s.polygon_ticker LIKE 'C:%' AND extract(isodow FROM d.day) = 6
                       THEN 'closed' -- a Saturday of forex and metals, which nobody need ask for
                   WHEN c.day IS NULL AND d.day + interval '1 day' <= now() AT TIME ZONE 'UTC'
                       THEN 'missing'
                   WHEN c.whole IS NOT TRUE THEN 'pending'
                   WHEN c.expected = 0 THEN 'closed'
                   WHEN c.bars + c.refused = 0
                       THEN CASE WHEN c.look_again_at IS NULL THEN 'closed' ELSE 'pending' END
                   WHEN c.agrees IS FALSE OR c.refused > 0 THEN 'sparse'
                   WHEN c.agrees OR c.bars >= 0.9 * c.expected THEN 'complete'
                   ELSE 'sparse'
               END AS status,
               coalesce(c.bars, 0) AS bars,
               c.expected,
               c.refused,
               c.agrees,
               c.asked_at,
               c.look_again_at
        FROM trading.symbols AS s
        CROSS JOIN (VALUES ('5m'), ('1d')) AS t (timeframe)
        CROSS JOIN LATERAL (
            SELECT min(known.day) AS first FROM market_data.coverage_days AS known
            WHERE known.symbol_id = s.id AND known.timeframe = t.timeframe AND known.day >= '1970-01-01'
        ) AS series
        CROSS JOIN LATERAL generate_series(
            series.first::timestamp, (now() AT TIME ZONE 'UTC')::date::timestamp, '1 day') AS d (day)
        LEFT JOIN market_data.coverage_days AS c
            ON c.symbol_id = s.id AND c.timeframe = t.timeframe AND c.day = d.day::date;
        COMMENT ON VIEW market_data.coverage IS
            'assetq: each UTC day of a series from the first that was asked for: complete, sparse (bars lack, or do not add up to the daily bar), pending (not over, or to be asked for again), missing (never asked for), closed (no session).';
    END IF;
END
$assetq$;

DO $assetq$
DECLARE
    utc text;
    wanted record;
BEGIN
    -- A ts without time zone is UTC; the same words turn it into an instant, and an instant into it.
    SELECT CASE WHEN format_type(atttypid, NULL) = 'timestamp without time zone'
                THEN ' AT TIME ZONE ''UTC''' ELSE '' END INTO STRICT utc
    FROM pg_attribute
    WHERE attrelid = 'market_data.ohlcv_5m'::regclass AND attname = 'ts';

    -- LATERAL: a query for one symbol reads the bars of that symbol only. Each bar looks for its
    -- parts by the primary key, so that a query for some time reads the bars of that time only.
    FOR wanted IN
        SELECT * FROM (VALUES
            ('ohlcv_15m', 900), ('ohlcv_1h', 3600), ('ohlcv_4h', 14400), ('ohlcv_1d_utc', 86400)
        ) AS views (name, seconds)
    LOOP
        CONTINUE WHEN to_regclass('market_data.' || wanted.name) IS NOT NULL
            AND coalesce(obj_description(to_regclass('market_data.' || wanted.name), 'pg_class'), '')
                NOT LIKE 'assetq:%';
        EXECUTE format($view$
            CREATE OR REPLACE VIEW market_data.%1$I AS
            SELECT s.symbol::text AS symbol, made.ts, b.*,
                   b.parts = %2$s OR coalesce(
                       c.whole AND c.refused = 0 AND c.agrees IS NOT FALSE
                       AND (c.agrees OR c.bars >= 0.9 * c.expected OR c.look_again_at IS NULL),
                       false) AS complete
            FROM trading.symbols AS s
            CROSS JOIN LATERAL ( -- but for bars of no real time, as of the year 294276
                SELECT (SELECT bar.ts%3$s FROM market_data.ohlcv_5m AS bar
                        WHERE bar.symbol_id = s.id
                              AND bar.ts >= (timestamptz '1970-01-01 00:00+00'%3$s)
                              AND bar.ts <= ((now() + interval '1 day')%3$s)
                        ORDER BY bar.ts LIMIT 1) AS first,
                       (SELECT bar.ts%3$s FROM market_data.ohlcv_5m AS bar
                        WHERE bar.symbol_id = s.id
                              AND bar.ts >= (timestamptz '1970-01-01 00:00+00'%3$s)
                              AND bar.ts <= ((now() + interval '1 day')%3$s)
                        ORDER BY bar.ts DESC LIMIT 1) AS last
            ) AS stored
            CROSS JOIN LATERAL generate_series(
                to_timestamp(floor(extract(epoch FROM stored.first) / %4$s) * %4$s),
                stored.last, make_interval(secs => %4$s)) AS made (ts)
            CROSS JOIN LATERAL (
                SELECT (array_agg(bar.open ORDER BY bar.ts))[1] AS open,
                       max(bar.high) AS high,
                       min(bar.low) AS low,
                       (array_agg(bar.close ORDER BY bar.ts DESC))[1] AS close,
                       sum(bar.volume) AS volume,
                       sum(bar.trades) AS trades,
                       count(*)::integer AS parts
                FROM market_data.ohlcv_5m AS bar
                WHERE bar.symbol_id = s.id
                      AND bar.ts >= (made.ts%3$s)
                      AND bar.ts < ((made.ts + make_interval(secs => %4$s))%3$s)
                HAVING count(*) > 0
            ) AS b
            LEFT JOIN market_data.coverage_days AS c
                ON c.symbol_id = s.id AND c.timeframe = '5m'
                AND c.day = (made.ts AT TIME ZONE 'UTC')::date
            $view$, wanted.name, wanted.seconds / 300, utc, wanted.seconds);
        EXECUTE format('COMMENT ON VIEW market_data.%I IS %L', wanted.name,
            'assetq: bars made of ohlcv_5m, aligned to UTC.');
    END LOOP;
END
$assetq$;

DO $assetq$
BEGIN
    -- The metadata of the user's own table may hold a 30 February; with standard_conforming_strings
    -- off, a backslash within a function means something else.
    CREATE OR REPLACE FUNCTION assetq.instant_of(written text) RETURNS timestamptz
    LANGUAGE plpgsql STABLE AS $function$
    BEGIN
        RETURN CASE WHEN written ~
                '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}[+]00:00$'
            THEN written::timestamptz END;
    EXCEPTION WHEN data_exception THEN
        RETURN NULL;
    END
    $function$;

    IF to_regproc('assetq.is_open') IS NULL THEN
        -- The hours of market/hours.py: crypto always; forex from Sunday to Friday 17:00 in New
        -- York; metals an hour later, and not from 17:00 to 18:00.
        CREATE FUNCTION assetq.is_open(ticker text, at timestamptz) RETURNS boolean
        LANGUAGE sql STABLE AS $function$
            SELECT CASE
                WHEN ticker LIKE 'X:%' THEN true
                WHEN ticker NOT LIKE 'C:%' THEN NULL
                WHEN ticker ~ '^C:(XAU|XAG|XPT|XPD)' THEN
                    CASE extract(isodow FROM local)
                        WHEN 6 THEN false
                        WHEN 7 THEN extract(hour FROM local) >= 18
                        WHEN 5 THEN extract(hour FROM local) < 17
                        ELSE extract(hour FROM local) <> 17 END
                ELSE
                    CASE extract(isodow FROM local)
                        WHEN 6 THEN false
                        WHEN 7 THEN extract(hour FROM local) >= 17
                        WHEN 5 THEN extract(hour FROM local) < 17
                        ELSE true END
                END
            FROM (SELECT at AT TIME ZONE 'America/New_York' AS local) AS clock
        $function$;
    END IF;

    IF to_regclass('trading.latest_prices') IS NULL
       OR obj_description(to_regclass('trading.latest_prices'), 'pg_class') LIKE 'assetq:%' THEN
        CREATE OR REPLACE VIEW trading.latest_prices AS
        SELECT p.symbol,
               p.asset_type,
               p.price,
               p.bid,
               p.ask,
               (p.bid + p.ask) / 2 AS mid,
               p.as_of,
               p.fetched_at,
               date_trunc('milliseconds', now() - p.as_of) AS age,
               p.source,
               p.delay,
               assetq.is_open(p.ticker, now()) AS market_open,
               p.day_open,
               p.day_high,
               p.day_low,
               p.day_close,
               p.basis,
               CASE WHEN p.basis = 'trade' THEN p.price END AS last_trade
        FROM (
            SELECT s.symbol::text AS symbol,
                   s.asset_type::text AS asset_type,
                   s.polygon_ticker::text AS ticker,
                   assetq.instant_of(u ->> 'as_of') AS as_of,
                   CASE WHEN jsonb_typeof(u -> 'observed_at_ms') = 'number'
                             AND u -> 'observed_at_ms' BETWEEN '0' AND '4102444800000'
                        THEN to_timestamp((u ->> 'observed_at_ms')::numeric::double precision / 1000)
                   END AS fetched_at,
                   u ->> 'source' AS source,
                   u ->> 'delay' AS delay,
                   u ->> 'basis' AS basis,
                   CASE WHEN jsonb_typeof(u -> 'last_price') = 'number'
                        THEN (u ->> 'last_price')::numeric END AS price,
                   CASE WHEN jsonb_typeof(u -> 'bid') = 'number'
                        THEN (u ->> 'bid')::numeric END AS bid,
                   CASE WHEN jsonb_typeof(u -> 'ask') = 'number'
                        THEN (u ->> 'ask')::numeric END AS ask,
                   CASE WHEN jsonb_typeof(u -> 'daily_open') = 'number'
                        THEN (u ->> 'daily_open')::numeric END AS day_open,
                   CASE WHEN jsonb_typeof(u -> 'daily_high') = 'number'
                        THEN (u ->> 'daily_high')::numeric END AS day_high,
                   CASE WHEN jsonb_typeof(u -> 'daily_low') = 'number'
                        THEN (u ->> 'daily_low')::numeric END AS day_low,
                   CASE WHEN jsonb_typeof(u -> 'daily_close') = 'number'
                        THEN (u ->> 'daily_close')::numeric END AS day_close
            FROM trading.symbols AS s
            CROSS JOIN LATERAL (SELECT s.metadata -> 'last_update') AS latest (u)
            WHERE jsonb_typeof(u) = 'object'
        ) AS p;
        COMMENT ON VIEW trading.latest_prices IS
            'assetq: the latest price of each symbol.';
    END IF;
END
$assetq$;

-- Comments on the columns of assetq's own views.
DO $assetq$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('market_data.coverage', 'timeframe', '5m, or 1d for the provider''s daily bars.'),
            ('market_data.coverage', 'day', 'A UTC day.'),
            ('market_data.coverage', 'status', 'complete; sparse: bars lack, were refused, or do not add up to the daily bar; pending: not over, or to be asked for again; missing: never asked for; closed: no session.'),
            ('market_data.coverage', 'bars', 'Bars that came and were stored.'),
            ('market_data.coverage', 'expected', 'Bars that a full day of this market has; five minutes without a tick make none.'),
            ('market_data.coverage', 'refused', 'Bars that came and could not be stored.'),
            ('market_data.coverage', 'agrees', 'Whether the 5-minute bars add up to the daily bar; NULL: there is no daily bar.'),
            ('market_data.coverage', 'asked_at', 'When the newest call was granted that counts for this day.'),
            ('market_data.coverage', 'look_again_at', 'When the day is asked for once more; NULL: never.'),
            ('trading.latest_prices', 'price', 'The price: of forex and metals mostly the middle of the quote, of crypto the last trade; see basis.'),
            ('trading.latest_prices', 'as_of', 'When the price was true, as the provider says.'),
            ('trading.latest_prices', 'fetched_at', 'When assetq learned it.'),
            ('trading.latest_prices', 'age', 'Time since as_of.'),
            ('trading.latest_prices', 'source', 'The feed that brought it.'),
            ('trading.latest_prices', 'delay', 'How far behind the market that feed is: real_time, delayed or end_of_day.'),
            ('trading.latest_prices', 'market_open', 'Whether its market trades now (holidays are not known).'),
            ('trading.latest_prices', 'basis', 'The figure that the price is: quote (middle of bid and ask), trade, minute, session, bar; NULL: written before assetq told it.'),
            ('trading.latest_prices', 'last_trade', 'The price where it is that of the last trade.')
        ) AS comments (relation, name, text)
        UNION ALL
        SELECT 'market_data.' || view, name, text
        FROM unnest(ARRAY['ohlcv_15m', 'ohlcv_1h', 'ohlcv_4h', 'ohlcv_1d_utc']) AS view
        CROSS JOIN (VALUES
            ('ts', 'First instant of the bar, in UTC.'),
            ('volume', 'Units traded; of forex and metals the number of quotes.'),
            ('parts', 'How many 5-minute bars it is made of.'),
            ('complete', 'Every part is there that the provider has: all, or the coverage of its day says that the others had no ticks. false: parts may still come.')
        ) AS columns (name, text)
    LOOP
        IF obj_description(wanted.relation::regclass, 'pg_class') LIKE 'assetq:%' THEN
            EXECUTE format('COMMENT ON COLUMN %s.%I IS %L',
                           wanted.relation::regclass, wanted.name, wanted.text);
        END IF;
    END LOOP;
END
$assetq$;

-- Comments, where there are none yet and the table is one's own.
DO $assetq$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('market_data.ohlcv_5m', 'ts', 'First instant of the bar, in UTC.'),
            ('market_data.ohlcv_5m', 'volume', 'Units traded; of forex and metals the number of quotes.'),
            ('market_data.ohlcv_5m', 'trades', 'Trades or quotes in the bar.'),
            ('market_data.ohlcv_5m', 'source', 'The feed that brought the bar.'),
            ('market_data.ohlcv_5m', 'observed_at_ms', 'When the call that brought it was granted (Unix time in ms); a newer one replaces the bar.'),
            ('market_data.ohlcv_1d', 'ts', 'First instant of the UTC day.'),
            ('market_data.ohlcv_1d', 'source', 'The feed that brought the bar.'),
            ('market_data.ohlcv_1d', 'observed_at_ms', 'When the call that brought it was granted (Unix time in ms); a newer one replaces the bar.'),
            ('trading.symbols', 'polygon_ticker', 'The ticker at the provider (C:EURUSD, X:BTCUSD); empty: not tracked by assetq.'),
            ('trading.symbols', 'priority', '1 critical, 2 high, 3 medium, 4 low.'),
            ('trading.symbols', 'metadata', 'last_update holds the latest price: see trading.latest_prices.'),
            ('trading.symbols', 'is_active', 'false: paused, so that assetq leaves it alone.'),
            ('trading.symbols', 'update_frequency_seconds', 'How old its price may become; NULL: as often as rounds come.'),
            ('data_sources.api_providers', 'last_active_at', 'When a worker last began to call the provider.'),
            ('data_sources.data_sync_status', 'last_sync_timestamp', 'The last success; NULL: never.'),
            ('data_sources.data_sync_status', 'observed_at_ms', 'When the call was granted (Unix time in ms).'),
            ('data_sources.api_calls', 'status', 'Of HTTP; NULL: no answer came.'),
            ('data_sources.api_calls', 'outcome', 'ok, or the kind of error.')
        ) AS comments (relation, name, text)
    LOOP
        IF (SELECT col_description(a.attrelid, a.attnum) IS NULL
                   AND pg_has_role(c.relowner, 'USAGE')
            FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
            WHERE c.oid = wanted.relation::regclass AND a.attname = wanted.name
              AND NOT a.attisdropped) THEN
            EXECUTE format('COMMENT ON COLUMN %s.%I IS %L',
                           wanted.relation::regclass, wanted.name, wanted.text);
        END IF;
    END LOOP;
    FOR wanted IN
        SELECT * FROM (VALUES
            ('market_data.ohlcv_5m', 'assetq: 5-minute bars. Whether a day is complete: market_data.coverage.'),
            ('market_data.ohlcv_1d', 'assetq: the provider''s daily bars. Of 5-minute bars: ohlcv_1d_utc.'),
            ('data_sources.api_providers', 'assetq: the providers of data.'),
            ('data_sources.data_sync_status', 'assetq: how the newest refresh of each symbol went.'),
            ('data_sources.api_calls', 'assetq: one row per API call, the audit of the quota.'),
            ('assetq.migrations', 'assetq: the migrations applied.')
        ) AS comments (relation, text)
    LOOP
        IF (SELECT obj_description(oid, 'pg_class') IS NULL AND pg_has_role(relowner, 'USAGE')
            FROM pg_class WHERE oid = wanted.relation::regclass) THEN
            EXECUTE format('COMMENT ON TABLE %s IS %L',
                           wanted.relation::regclass, wanted.text);
        END IF;
    END LOOP;
END
$assetq$;
