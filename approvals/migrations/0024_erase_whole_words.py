"""What an erasure blanks beside the records it finds by whole words: `dan` is not in “standard”."""

import re
from importlib import import_module
from typing import ClassVar

from django.db import migrations

NAMES = r"""
-- Whether one of the words stands in a text by itself, whatever the case of either.
CREATE FUNCTION approvals_names(said text, words text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
  SELECT EXISTS (SELECT FROM unnest(words) word WHERE word <> '' AND lower(said) ~ (
    '(?<!\w)' || regexp_replace(lower(word), '([^[:alnum:]])', '\\\1', 'g') || '(?!\w)'))
$$;
"""
#: Where each function was defined, and under which name of its module.
DEFINED = (
    ("0004_erasable", "PERSON"),
    ("0011_erase_seen", "SEEN"),
    ("0014_saved_views", "ERASE"),
    ("0017_report_schedules", "ERASE"),
)
_IN_WORDS = re.compile(
    r"EXISTS \(\s*SELECT FROM unnest\(words\) word\s+WHERE word <> ''\s+"
    r"AND strpos\(lower\((.+?)\), lower\(word\)\) > 0\)",
    re.DOTALL,
)


def _before(module: str, name: str) -> str:
    """Return a function as it was first defined, to be put back; its rights stay."""
    text: str = getattr(import_module(f"approvals.migrations.{module}"), name)
    return text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)


def _after(before: str) -> str:
    text, count = _IN_WORDS.subn(r"approvals_names(\1, words)", before)
    assert count, before
    assert "strpos" not in text
    return text


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0023_erase_keyed_writes")]

    operations: ClassVar = [
        migrations.RunSQL(NAMES, "DROP FUNCTION approvals_names(text, text[]);"),
        *(
            migrations.RunSQL(_after(before), before)
            for before in (_before(*each) for each in DEFINED)
        ),
    ]
