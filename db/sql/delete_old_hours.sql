DELETE FROM assetq.hours WHERE hour < now() - make_interval(days => %(keep_days)s);
