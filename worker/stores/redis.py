"""Redis: the client, whose every wait has an end, and which repeats no command by itself."""

from redis import Redis
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from worker.errors import WrongSettings
from worker.settings import ProducerSettings

SOCKET_TIMEOUT_S = 5.0
"""How long a command waits for its answer; a command that blocks must ask for less."""

CONNECT_TIMEOUT_S = 2.0

HASTE_S = 0.5
"""How long a command waits, at most, where one can do without its answer: a cached value, a rate limit."""


def open_redis(
    settings: ProducerSettings, *, client_name: str = "trivet", timeout_s: float = SOCKET_TIMEOUT_S
) -> Redis:
    """Make the client of this process: open it after fork, and `close()` it at the end; answers are bytes.

    It connects with the first command, and waits for an answer for at most `timeout_s`. TLS, credentials and the
    database's number are the URL's.
    Raises `WrongSettings` when the URL cannot be read.
    """
    try:
        return Redis.from_url(
            settings.redis_url.get_secret_value(),
            client_name=client_name,
            decode_responses=False,
            protocol=3,
            socket_connect_timeout=min(CONNECT_TIMEOUT_S, timeout_s),
            socket_timeout=timeout_s,
            socket_keepalive=True,
            health_check_interval=15,
            # A command whose answer was lost may have been carried out, and a script that pops or counts
            # must not run twice: whoever sent it knows whether to repeat it. (The client's own default: ten
            # times.) A connection that the server closed meanwhile is replaced all the same when the pool
            # hands it out, but only while notices of maintenance are off: with them the pool does not look.
            retry=Retry(NoBackoff(), 0),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError:  # its text may quote the URL
        raise WrongSettings("TRIVET_REDIS_URL is wrong: Redis' client cannot read it") from None
