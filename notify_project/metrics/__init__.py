"""GET /metrics of the web: what its processes count, and what the whole deployment has in Redis and PostgreSQL."""
