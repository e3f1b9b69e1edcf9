"""A batch of jobs in one PostgreSQL transaction: validate, claim, lock, perform, record, owe."""
