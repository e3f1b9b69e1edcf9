"""The environment, read once: every setting of a process, validated and frozen."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.errors import WrongSettings
from worker.secret_files import SUFFIX, read_secret_files

PREFIX = "TRIVET_"


def _url(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    return AfterValidator(check)


class ProducerSettings(BaseSettings):
    """What a process needs that only enqueues jobs: it may know nothing of the other two stores."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    redis_url: Annotated[SecretStr, _url("redis", "rediss")]
    queue_max: int = Field(1_000_000, ge=1, le=10**9)
    queue_prefix: str = Field("", max_length=100, pattern=r"^[^\n]*$")
    env: Literal["development", "production"] = "development"


class Settings(ProducerSettings):
    """All settings, from variables named `TRIVET_` + the field's name in capitals.

    URLs hold passwords and therefore are secrets; they have no default. A secret may also come in a file: its
    path is in the variable with `_FILE` behind its name. Units stand in the names: `_s` seconds,
    `_ms` milliseconds, `_d` days.
    """

    postgres_url: Annotated[SecretStr, _url("postgresql")]
    mongo_url: Annotated[SecretStr, _url("mongodb", "mongodb+srv")]

    pool_max: int = Field(20, ge=1, le=1_000)
    pool_idle_s: float = Field(30, gt=0, le=86_400)
    pool_timeout_s: float = Field(2, gt=0, le=3_600)
    slow_query_ms: float = Field(200, ge=0, le=86_400_000)

    cache_ttl_s: int = Field(60, ge=1, le=366 * 86_400)
    events_maxlen: int = Field(100_000, ge=1, le=10**9)
    batch_max: int = Field(500, ge=1, le=10_000)
    lease_s: float = Field(15, ge=3, le=3_600)
    owed_max: int = Field(100_000, ge=1, le=10**9)
    retention_d: int = Field(30, ge=1, le=36_500)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    metrics_port: str = Field("", pattern=r"^$|^\d{1,5}(-\d{1,5})?$")
    flower_user: str = ""
    flower_password: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _ports_are_ports(self) -> Self:
        low, _, high = self.metrics_port.partition("-")
        if low and not 0 < int(low) <= int(high or low) < 65_536:
            raise ValueError("TRIVET_METRICS_PORT is a port below 65536, or a range like 9100-9110")
        return self

    @model_validator(mode="after")
    def _flower_has_both_or_none(self) -> Self:
        if bool(self.flower_user) != bool(self.flower_password.get_secret_value()):
            raise ValueError("TRIVET_FLOWER_USER and TRIVET_FLOWER_PASSWORD are set together")
        return self

    @property
    def celery_url(self) -> str:
        """Redis' URL as Celery wants it: it takes a TLS URL only with a word on certificates; ours are verified."""
        url = self.redis_url.get_secret_value()
        if not url.startswith("rediss://") or "ssl_cert_reqs=" in url:
            return url
        return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"

    @property
    def statement_timeout_s(self) -> float:
        """How long one statement of a batch may run: it must end before the lease does."""
        return self.lease_s * 2 / 3

    @property
    def batch_limit_s(self) -> float:
        """How long a batch may take before its process is killed: several tries of its transaction."""
        return self.lease_s * 8

    @property
    def silence_s(self) -> float:
        """How long a node's main process waits for an answer of Redis: it does nothing else meanwhile."""
        return min(5, self.lease_s / 3)

    @property
    def frozen_timeout_s(self) -> float:
        """How long a silent transaction may hold locks: at most a third of the lease."""
        return self.lease_s / 3


Kind = TypeVar("Kind", bound=ProducerSettings)


def read_settings(env_file: Path | None = Path(".env")) -> Settings:
    """Read the environment, the files of secrets that it names, and in development the file `.env` below it.

    Raises `WrongSettings`, which names each variable that is missing or wrong, and never its value.
    """
    return read_kind(Settings, env_file)


def read_kind(kind: type[Kind], env_file: Path | None = Path(".env")) -> Kind:
    """Read only the settings of this kind, as `read_settings` does."""
    production = os.environ.get(f"{PREFIX}ENV") == "production"
    secrets: dict[str, Any] = {
        _field(name): value for name, value in read_secret_files(secret_variables(kind)).items()
    }
    try:
        settings = kind(_env_file=None if production else env_file, **secrets)
    except ValidationError as error:
        raise WrongSettings("; ".join(_told(problem, secrets) for problem in error.errors())) from None
    if settings.env == "production" and not production:
        raise WrongSettings(
            f"{PREFIX}ENV is production in {env_file}, which is for development: set the environment"
        )
    return settings


def secret_variables(kind: type[ProducerSettings]) -> list[str]:
    """The variables of this kind that hold a secret, and so may come in files."""
    fields = kind.model_fields.items()
    return [f"{PREFIX}{name.upper()}" for name, field in fields if field.annotation is SecretStr]


def _field(variable: str) -> str:
    return variable.removeprefix(PREFIX).lower()


def _told(problem: ErrorDetails, from_files: Collection[str]) -> str:
    field = ".".join(str(part) for part in problem["loc"])
    return _problem(field, problem["msg"], SUFFIX if field in from_files else "")


def _problem(field: str, message: str, suffix: str) -> str:
    name = f"{PREFIX}{field.upper()}{suffix} " if field else ""
    if message == "Field required":
        return f"{name}is not set (see .env.example, or: eval $(trivet dev env))"
    content = "the file that it names " if suffix else ""
    return f"{name}is wrong: {content}{message.removeprefix('Value error, ')}"
