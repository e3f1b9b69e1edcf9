"""Celery's configuration: plain data, read by the app in `worker.app`."""
