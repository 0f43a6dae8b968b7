-- Write the figures of an hour. The refused calls are those of the audit.
INSERT INTO assetq.hours
    (provider, hour, noted_at, prices, bars, history, probes, refused, idle_ms, waits, assets,
     stale, lacking, causes, seen)
VALUES (%(provider)s, %(hour)s, %(noted_at)s, %(prices)s, %(bars)s, %(history)s, %(probes)s,
        (SELECT count(*) FROM data_sources.api_calls
         WHERE started_at >= %(hour)s AND started_at < %(hour)s + interval '1 hour'
           AND outcome <> 'ok'),
        %(idle_ms)s, %(waits)s, %(assets)s, %(stale)s, %(lacking)s, %(causes)s, %(seen)s)
ON CONFLICT (provider, hour) DO UPDATE SET
    noted_at = EXCLUDED.noted_at,
    prices = EXCLUDED.prices,
    bars = EXCLUDED.bars,
    history = EXCLUDED.history,
    probes = EXCLUDED.probes,
    refused = EXCLUDED.refused,
    idle_ms = EXCLUDED.idle_ms,
    waits = EXCLUDED.waits,
    assets = EXCLUDED.assets,
    stale = EXCLUDED.stale,
    lacking = EXCLUDED.lacking,
    causes = EXCLUDED.causes,
    seen = EXCLUDED.seen;
