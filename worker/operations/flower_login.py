"""Who may look at Flower: whoever knows the login, and where there is none, this machine alone."""

import hmac
from base64 import b64decode
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Self

from worker.errors import WrongSettings
from worker.settings import Settings

LOCALHOST = "localhost"


@dataclass(frozen=True)
class Login:
    """The one user of Flower, with everything that a login there allows."""

    user: str
    password: str = field(repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The login of the settings, if there is one.

        Raises `WrongSettings` when production has none, or when HTTP's basic authentication cannot carry it.
        """
        if not settings.flower_user:
            if settings.env == "production":
                raise WrongSettings(
                    "TRIVET_FLOWER_USER and TRIVET_FLOWER_PASSWORD are not set: Flower can stop workers, so in"
                    " production it starts with a login only"
                )
            return None
        login = cls(settings.flower_user, settings.flower_password.get_secret_value())
        if ":" in login.user or not login.pair.isascii():
            raise WrongSettings(
                "TRIVET_FLOWER_USER and TRIVET_FLOWER_PASSWORD take ASCII only, and the user no colon: browsers"
                " disagree on how to send anything else"
            )
        return login

    @property
    def pair(self) -> str:
        """The two as basic authentication joins them."""
        return f"{self.user}:{self.password}"

    def opens(self, authorization: str) -> bool:
        """Whether this `Authorization` header proves that its sender knows the login."""
        scheme, _, given = authorization.partition(" ")
        try:
            pair = b64decode(given, validate=True)
        except ValueError:
            return False
        return scheme == "Basic" and hmac.compare_digest(pair, self.pair.encode())


def is_local(host: str) -> bool:
    """Whether this name or address of a host means this machine, and no other can use it."""
    if host == LOCALHOST:
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
