"""Health, metrics and rq-dashboard over HTTP."""
