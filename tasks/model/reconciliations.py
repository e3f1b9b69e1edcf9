"""The table of passes over the documents that are not over: how far each came, and what it has found."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from tasks.model import Base


class Reconciliation(Base):
    """A pass that is not over. It is taken by the one job that goes on with it, and by nobody else."""

    __tablename__ = "reconciliations"

    next_job: Mapped[UUID] = mapped_column(primary_key=True, comment="the job that goes on with it")
    began_at: Mapped[datetime]
    saved_at: Mapped[datetime]
    step: Mapped[str] = mapped_column(comment="what it was doing: listing documents, or comparing rows")
    collection: Mapped[str] = mapped_column(comment="the collection that it had come to")
    place: Mapped[bytes] = mapped_column(comment="the key that it looked at last, as the step keeps it")
    found: Mapped[str] = mapped_column(comment="what it has found so far: the task's result, as JSON")
