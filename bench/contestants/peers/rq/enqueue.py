"""Put orders into RQ's queue: JSON lines on standard input."""

import os

from app import transfer
from redis import Redis
from rq import Queue

from bench.work import orders_on_stdin

CHUNK = 1_000
"""Jobs a pipeline: each is a transaction in Redis."""

queue = Queue("transfers", connection=Redis.from_url(os.environ["TRIVET_REDIS_URL"]))
# Nobody asks for the results: a job that is done leaves Redis at once.
jobs = [
    Queue.prepare_data(transfer, (o.id, o.source, o.target, o.amount), job_id=o.id, result_ttl=0)
    for o in orders_on_stdin()
]
for first in range(0, len(jobs), CHUNK):
    queue.enqueue_many(jobs[first : first + CHUNK])
