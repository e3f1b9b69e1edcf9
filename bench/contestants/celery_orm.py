"""Plain Celery with the transfer through the ORM: the body that ours has, in a session of its own."""

from typing import ClassVar

from bench.contestants.celery import Celery


class CeleryOrm(Celery):
    """As plain Celery, with SQLAlchemy: both accounts locked and loaded, the model's rules, one commit a job."""

    name: ClassVar[str] = "celery-orm"
    app: ClassVar[str] = "bench.plain_orm"
    task: ClassVar[str] = "plain_orm.transfer"
