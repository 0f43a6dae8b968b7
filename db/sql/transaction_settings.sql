-- First in each transaction, and gone with it: a pooler hands the session on to other programs.
-- The formats are those that the driver reads and writes, whatever the server's defaults are.
SELECT set_config('TimeZone', 'UTC', true),
       set_config('DateStyle', 'ISO, MDY', true),
       set_config('IntervalStyle', 'postgres', true),
       set_config('standard_conforming_strings', 'on', true),
       set_config('array_nulls', 'on', true),
       set_config('statement_timeout', %(statement_timeout)s, true),
       set_config('lock_timeout', %(lock_timeout)s, true),
       set_config('idle_in_transaction_session_timeout', %(idle_timeout)s, true);
