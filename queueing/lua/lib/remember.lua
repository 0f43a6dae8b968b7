-- Stands before every script that is not "Read only": the next one sees if the clock steps back.
redis.call('HSET', QUOTA, 'clock_seen', ms(wall), 'clock_ahead', ms(ahead))
