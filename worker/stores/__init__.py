"""One client each for PostgreSQL, MongoDB and Redis."""
