"""The change feed, and how writers enter it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from kuploy_saas_kit.adapters.sql.connection import SqlVerbs, upsert
from kuploy_saas_kit.plans.ports import Changes, Everyone

_KEPT_CHANGES: Final = 10_000
_PRUNE_EVERY: Final = 512


class FeedVerbs(SqlVerbs):
    """`ChangeFeed` in SQL: a counter that each writer bumps in its own transaction, and a log of org ids.

    The counter's row makes the writers commit one after the other, so that whoever reads position n sees all up to it.
    """

    def changes(self, cursor: str | None) -> Changes:
        feed, change = self._tables.feed, self._tables.change
        with self._reading() as connection:
            epoch, end = connection.execute(select(feed.c.epoch, feed.c.seq)).one()
            start = _position(cursor, epoch, end)
            if start is None or start == end:
                return Changes(f"{epoch}.{end}", Everyone.ALL if start is None else frozenset())
            news = select(change.c.org_id).where(change.c.seq > start, change.c.seq <= end)
            orgs = connection.execute(news).scalars().all()
        is_complete = len(orgs) == end - start and None not in orgs
        return Changes(f"{epoch}.{end}", frozenset(orgs) if is_complete else Everyone.ALL)

    def _changed(self, connection: Connection, org_ids: Sequence[str | None]) -> None:
        """Enter changes, None for everyone, as the last step of a transaction: it keeps the counter's row locked."""
        if not org_ids:
            return
        feed, change = self._tables.feed, self._tables.change
        bump = update(feed).values(seq=feed.c.seq + len(org_ids)).returning(feed.c.seq)
        end = connection.execute(bump).scalar_one()
        start = end - len(org_ids)
        rows = [{"seq": seq, "org_id": org_id} for seq, org_id in enumerate(org_ids, start + 1)]
        connection.execute(insert(change), rows)
        if end // _PRUNE_EVERY != start // _PRUNE_EVERY:
            connection.execute(delete(change).where(change.c.seq <= end - _KEPT_CHANGES))

    def _raise_standings(self, connection: Connection, org_ids: Iterable[str]) -> None:
        """Raise the orgs' versions, in order, which also locks their standings against other writers."""
        standing = self._tables.standing
        for org_id in sorted(org_ids):
            first = upsert(connection, standing).values(org_id=org_id, version=1)
            risen = {"version": standing.c.version + 1}
            connection.execute(first.on_conflict_do_update(index_elements=["org_id"], set_=risen))


def _position(cursor: str | None, epoch: str, end: int) -> int | None:
    made, _, position = (cursor or "").partition(".")
    if made != epoch or not position.isdecimal() or int(position) > end:
        return None
    return int(position)
