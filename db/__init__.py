"""PostgreSQL: connections, migrations, and one module per group of tables.

`connection` opens connections and transactions, `errors` and `translation` tell what went wrong,
`migrate` brings a database up to date, `compatibility` and `warnings` look at tables of the user's
own. `symbols`, `bars`, `coverage`, `providers` and `calls` read their tables; `refresh` stores the
answer of one API call, and `probe` tells whether it could. Nothing here knows of queues, HTTP or
settings.
"""
