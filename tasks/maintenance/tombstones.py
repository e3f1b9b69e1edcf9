"""Tombstones go when no write can come any more that is older than they are, and their guard rows with them."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, select

from tasks.model.projections import Projection
from worker import UnitOfWork


def sweep_tombstones(projections: Iterable[Projection], work: UnitOfWork, limit: int) -> int:
    """Owe the removal of tombstones that are old enough, at most so many; returns how many.

    Their guard rows go now. Until the tombstones follow, a document that is put anew has a newer version than they
    have: it replaces the tombstone, and is not swept.
    """
    settled = work.past.settled_version
    if settled == 0:
        return 0  # no version is that low: MongoDB need not be asked
    swept = 0
    for projection in projections:
        for page in work.documents.tombstones(projection.collection, settled):
            old = [listed.key for listed in page if listed.tombstone and listed.ours]
            for key in _loose(projection, old[: limit - swept], work):
                work.sweep(projection.collection, key, settled)
                swept += 1
            if swept == limit:
                return swept
    return swept


def _loose(projection: Projection, keys: Sequence[Any], work: UnitOfWork) -> list[Any]:
    """Those of these tombstones that no row holds any more, and whose removal is not owed already."""
    if not keys:
        return []
    owed = work.documents.owed(projection.collection, keys)
    free = [key for key in keys if key not in owed]
    held = _held(projection, free, work)
    return [key for key in free if key not in held]


def _held(projection: Projection, keys: Sequence[Any], work: UnitOfWork) -> set[str]:
    """Remove the guard rows that are there for the sake of these tombstones alone; returns what has a row still."""
    if projection.gone is None:
        return projection.present(work.session, keys)
    key, session = projection.key, work.session
    these = projection.among(projection.keys(keys))
    only = select(key).where(these, projection.gone).with_for_update(skip_locked=True)
    free = session.scalars(only).all()
    session.execute(
        delete(key.class_).where(projection.among(free)), execution_options={"synchronize_session": False}
    )
    return {projection.id_of(left) for left in session.scalars(select(key).where(these))}
