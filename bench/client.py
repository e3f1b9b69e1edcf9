"""A plain Celery client that deposits one by one and knows nothing of this package; `bench.kills` runs it.

`client.py BROKER TASK QUEUE RATE SEED` reads account ids from stdin, sends `RATE` deposits a second until SIGTERM,
and writes a line to stdout for each one that was accepted: task id, account, amount.
"""

import random
import signal
import sys
import time
import uuid

from celery import Celery


def main(broker: str, task: str, queue: str, rate: str, seed: str) -> None:
    """Send until told to stop; what was begun is finished."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    app, chance, accounts = Celery(broker=broker), random.Random(seed), sys.stdin.read().split()
    began, sent = time.monotonic(), 0
    while not stopped:
        time.sleep(max(0.0, began + sent / float(rate) - time.monotonic()))
        task_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        given = {"account": chance.choice(accounts), "amount": chance.randint(1, 9)}
        app.send_task(task, kwargs=given, queue=queue, task_id=task_id)
        print(task_id, given["account"], given["amount"], flush=True)
        sent += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
