"""Is the configuration what its history says? Compares each row with the newest of its history.

A row that was changed past the application, by SQL with the web's database account, leaves none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import connection, models

from approvals.selectors.changes import NOUNS
from audit.models.erasable import ERASED
from audit.selectors import erasures, payloads

#: Of one kind of configuration, no more rows that differ are told.
MOST = 1_000

# The newest row of a history is the one with the highest number: whoever changes a row holds it
# until that is written.
_DIFFERING = """
SELECT * FROM (
  SELECT coalesce(c."{key}", h."{key}") AS id, c."{key}" IS NOT NULL AS is_there, h.history_type,
         array_remove(ARRAY[{differs}]::text[], NULL) AS differs,
         array_remove(ARRAY[{erased}]::text[], NULL) AS erased
  FROM {table} c FULL JOIN (
    SELECT * FROM {history}
    WHERE history_id IN (SELECT max(history_id) FROM {history} GROUP BY "{key}")
  ) h ON h."{key}" = c."{key}") d
WHERE history_type IS NULL OR is_there = (history_type = '-') OR is_there AND differs <> '{{}}'
ORDER BY id LIMIT {most}
"""


def differences(*, now: datetime) -> Iterator[str]:
    """Yield a sentence for each row of configuration that isn't what its history says it became.

    It names the row by its number: what this says is kept, and people can be erased. One query for
    each kind, and one more for a kind of which something differs where a value was erased.
    """
    for kind, history in payloads.record_models().items():
        if not hasattr(history, "history_id"):
            continue
        with connection.cursor() as cursor:
            cursor.execute(_statement(history))
            found = cursor.fetchall()
        gone = erasures.of_many(kind, [str(key) for key, *_, erased in found if erased])
        for key, is_there, newest, differs, erased in found:
            kept = {*erased} & gone.get(str(key), {}).keys()
            words = _words(is_there, newest, [each for each in differs if each not in kept])
            if words:
                yield f"{NOUNS.get(kind, kind)} no. {key}: {words}"


def _words(is_there: bool, newest: str | None, differs: list[str]) -> str:
    if newest is None:
        return "is there, and has no history"
    if not is_there:
        return "is gone, and its history doesn't say that it was removed"
    if newest == "-":
        return "is there, and its history says that it was removed"
    if not differs:
        return ""
    return f"{', '.join(differs)} not as in the newest row of its history"


def _statement(history: Any) -> str:
    """Return the query for the rows of a kind that differ from their history.

    A value that an erasure took from the history stays in the row where it doesn't name anybody:
    `erased` has the fields of which the history holds what an erasure leaves.
    """
    base = history.instance_type
    fields = [each for each in history.tracked_fields if not each.primary_key]
    differs = [f'c."{each.column}" IS DISTINCT FROM {_held(each, base)}' for each in fields]
    return _DIFFERING.format(
        key=base._meta.pk.column,
        table=base._meta.db_table,
        history=history._meta.db_table,
        most=MOST,
        differs=", ".join(
            f"CASE WHEN {each} THEN '{field.attname}' END"
            for field, each in zip(fields, differs, strict=True)
        ),
        erased=", ".join(
            f"CASE WHEN {each} AND {_is_erased(field)} THEN '{field.attname}' END"
            for field, each in zip(fields, differs, strict=True)
        ),
    )


def _held(field: models.Field[Any, Any], base: type[models.Model]) -> str:
    """Return what the history holds; for versions from before a column, what rows got with it."""
    column, own = f'h."{field.column}"', base._meta.get_field(field.name)
    if own.null or not isinstance(own, models.CharField) or not own.has_default():
        return column
    return f"coalesce({column}, '{own.get_default()}')"


def _is_erased(field: models.Field[Any, Any]) -> str:
    column = f'h."{field.column}"'
    if isinstance(field, models.CharField | models.TextField):
        return f"{column} = '{ERASED}'"
    return f"{column} = '{{}}'" if isinstance(field, models.JSONField) else f"{column} IS NULL"
