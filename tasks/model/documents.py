"""The table of free-form documents: what each holds, and how often it was changed."""

from sqlalchemy import BigInteger, CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tasks.model import Base
from worker import NotFound, Rejected


class VersionConflict(Rejected):
    """The document has another version than `if_version`."""

    code = "version_conflict"


class Document(Base):
    """A free-form document. The row of one that is gone stays, without a body; its version goes on from there."""

    __tablename__ = "documents"
    __table_args__ = (CheckConstraint("version >= 0", name="version"),)

    id: Mapped[str] = mapped_column(primary_key=True, comment="<collection>/<id>")
    version: Mapped[int] = mapped_column(BigInteger, comment="how often it was changed; 0: never yet")
    # As text: jsonb would turn 1e20 into an integer that MongoDB does not take. And a row without containers is
    # undone in memory, when a job is rejected.
    body: Mapped[str | None] = mapped_column(comment="one JSON object as it came; null: it is gone")

    def refuse_gone(self) -> None:
        """Raise `NotFound` if it is gone."""
        if self.body is None:
            raise NotFound(Document, self.id)

    def refuse_other(self, if_version: int | None) -> None:
        """Raise `VersionConflict` unless it has this version; 0 says that there is none, None that any will do."""
        version = 0 if self.body is None else self.version
        if if_version not in {None, version}:
            raise VersionConflict(f"{self.id} has version {version}", field="if_version")

    def change(self, body: str | None) -> None:
        """Take this body; None: be gone."""
        self.body = body
        self.version += 1
