"""PostgreSQL's function that takes all claims or none. No table holds it: a dump of the tables leaves it behind."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Dialect, func, select

from kuploy_saas_kit.adapters.sql.layout import SqlLayout

# Each claim is an element of the four arrays, in the order of locks, the hottest row last. That one is looked at before
# any is locked, so that nobody writes at a full instance; whoever waited for a row looks at what was committed.
# The answer has the values after the take; or, with one element more, those that were found, and 1 if a holding
# expired.
_TAKE: Final = """
CREATE OR REPLACE FUNCTION {take}(scopes text[], limits text[], amounts bigint[], rooms bigint[], moment timestamptz)
RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  size integer := cardinality(scopes);
  value bigint;
  answer bigint[];
BEGIN
  LOOP
    answer := '{{}}';
    PERFORM FROM {usage} AS hottest
    WHERE hottest.scope = scopes[size] AND hottest.limit_key = limits[size] AND hottest.used <= rooms[size];
    FOR place IN 1 .. size LOOP
      EXIT WHEN NOT FOUND;
      UPDATE {usage} AS counter SET used = counter.used + amounts[place]
      WHERE counter.scope = scopes[place] AND counter.limit_key = limits[place] AND counter.used <= rooms[place]
      RETURNING counter.used INTO value;
      IF FOUND THEN
        answer[place] := value;
      END IF;
    END LOOP;
    IF cardinality(answer) = size THEN
      RETURN answer;
    END IF;
    FOR place IN 1 .. cardinality(answer) LOOP
      UPDATE {usage} AS counter SET used = counter.used - amounts[place]
      WHERE counter.scope = scopes[place] AND counter.limit_key = limits[place];
    END LOOP;
    -- One statement, so that it sees of a sweep either the holdings or the counters that it returned them to.
    answer := ARRAY(
      SELECT (SELECT counter.used FROM {usage} AS counter
              WHERE counter.scope = scopes[place] AND counter.limit_key = limits[place])
      FROM generate_series(1, size) AS place ORDER BY place
    ) || (SELECT count(*) FROM (
      SELECT FROM {holding} WHERE expires_at <= coalesce(moment, clock_timestamp()) LIMIT 1) AS expired);
    FOR place IN 1 .. size LOOP
      IF answer[place] IS NULL OR answer[place] > rooms[place] THEN
        RETURN answer;
      END IF;
    END LOOP;
    -- Somebody has given back since: there is room now.
  END LOOP;
END $$
"""


def make_function(connection: Connection, layout: SqlLayout) -> None:
    """Make it, also in place of one that is there; other databases have none."""
    if connection.dialect.name != "postgresql":
        return
    names = {name: qualified(connection.dialect, layout, name) for name in ("take", "usage", "holding")}
    connection.exec_driver_sql(_TAKE.format(**names))


def has_function(connection: Connection, layout: SqlLayout) -> bool:
    """Whether it is there, where the database is one that needs it."""
    if connection.dialect.name != "postgresql":
        return True
    take = qualified(connection.dialect, layout, "take")
    found = select(func.to_regprocedure(f"{take}(text[], text[], bigint[], bigint[], timestamptz)"))
    return connection.execute(found).scalar_one() is not None


def qualified(dialect: Dialect, layout: SqlLayout, name: str) -> str:
    """How a statement spells the function or table *name* of the kit's own."""
    quote = dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in (layout.schema, layout.prefix + name) if part is not None)
