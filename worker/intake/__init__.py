"""From the broker to a batch: what Celery receives is gathered by task and handed to a pool process."""
