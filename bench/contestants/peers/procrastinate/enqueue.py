"""Put orders into Procrastinate's table, in a schema that is made anew: JSON lines on standard input."""

import os

import psycopg
from app import app, transfer

from bench.work import orders_on_stdin

CHUNK = 1_000

with psycopg.connect(os.environ["TRIVET_POSTGRES_URL"]) as connection:
    connection.execute("DROP SCHEMA IF EXISTS procrastinate CASCADE")
    connection.execute("CREATE SCHEMA procrastinate")
jobs = [{"job_id": o.id, "source": o.source, "target": o.target, "amount": o.amount} for o in orders_on_stdin()]
with app.open():
    app.schema_manager.apply_schema()
    for first in range(0, len(jobs), CHUNK):
        transfer.batch_defer(*jobs[first : first + CHUNK])
with psycopg.connect(os.environ["TRIVET_POSTGRES_URL"], autocommit=True) as connection:
    # A table in use has been analysed long ago; this one is new.
    connection.execute("ANALYZE procrastinate.procrastinate_jobs")
