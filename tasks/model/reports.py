"""The table of reports: what maintenance found on a day, for MongoDB's collection of that name."""

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from tasks.model import Base
from tasks.model.projections import Projection, project
from worker import UnitOfWork

COLLECTION = "reports"


class Report(Base):
    """What was reported of a day, under a name; the last one stands."""

    __tablename__ = "reports"

    id: Mapped[str] = mapped_column(primary_key=True, comment="<name>:<day>")
    body: Mapped[str] = mapped_column(comment="one JSON object")
    made_at: Mapped[datetime]


def write_report(work: UnitOfWork, name: str, day: date, content: Mapping[str, Any]) -> None:
    """Let this JSON be the report of the day. To be written last: its row is locked from here on."""
    key, told = f"{name}:{day}", {**content, "name": name, "day": str(day), "made_at": f"{work.now:%FT%T.%fZ}"}
    kept = insert(Report).values(id=key, body=json.dumps(told), made_at=work.now)
    work.session.execute(
        kept.on_conflict_do_update(
            index_elements=[Report.id], set_={"body": kept.excluded.body, "made_at": kept.excluded.made_at}
        )
    )
    work.store_in(COLLECTION, key, told)


project(
    Projection(
        collection=COLLECTION,
        rows=select(Report),
        key=Report.id,
        guard=Report,
        content=lambda row: json.loads(row.Report.body),
    )
)
