"""PostgreSQL: connections, migrations, and one module per group of tables.

`connection` opens and names errors, `migrate` brings a database up to date, `symbols`, `providers`
and `calls` read and write their tables, `refresh` stores what one API call brought. Nothing here
knows of queues, HTTP or settings.
"""
