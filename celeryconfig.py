"""Celery's configuration: plain data, read by the app in `worker.app`."""

from worker.settings import read_settings as _read_settings

_settings = _read_settings()
_redis = _settings.celery_url

_queues = ("users", "posts", "accounts", "documents", "sessions", "notifications", "maintenance")

# The modules of `tasks` that declare jobs: one for each queue. Another one brings no queue with it.
_slices = _queues
imports = tuple(f"tasks.{name}" for name in _slices)

broker_url = _redis
broker_transport = "worker.intake.transport:Transport"
result_backend = _redis
result_expires = 24 * 3600

# Each job goes to the queue of its first word.
task_routes = {f"{queue}.*": {"queue": queue} for queue in _queues}
task_default_queue = "maintenance"

# JSON everywhere: a pickle in a queue is a program that somebody else wrote.
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"
event_serializer = "json"

# A message is acknowledged when its batch has committed, never before.
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 2 * _settings.batch_max
worker_cancel_long_running_tasks_on_connection_loss = False

# Wait for a broker that is away, for ever; notice one that has gone silent.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# Heartbeats and remote control use the broker in the main process: whoever waits there keeps intake waiting.
_silence_s = _settings.silence_s
_patience = {
    "socket_timeout": _silence_s,
    "socket_connect_timeout": min(2, _silence_s),
    "socket_keepalive": True,
    "health_check_interval": _silence_s,
}
broker_transport_options = _patience | {"global_keyprefix": _settings.queue_prefix}

# What a node gathers and runs is not among the requests that Celery would wait for, or cancel, at a shutdown.
worker_consumer = "worker.intake.consumer:Consumer"
worker_enable_soft_shutdown_on_idle = True

# Beat: the leader holds a lock in Redis, and tells it every 5 s; after 25 s of silence another one takes over.
beat_scheduler = "worker.operations.schedule:Scheduler"
beat_max_loop_interval = 5
redbeat_lock_timeout = 25
redbeat_redis_url = _redis
redbeat_redis_options = dict(_patience)

worker_hijack_root_logger = False
worker_proc_alive_timeout = 10
worker_enable_remote_control = True
timezone = "UTC"
enable_utc = True
