"""What every process shares: context, Redis client, logs, heartbeat, stop flag, failpoints."""
