"""The names that a job module may use."""
