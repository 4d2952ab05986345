"""The database takes no entry that the log could not hold, or that is in its writers' way.

One bad entry would stay for ever: the log is append-only, and whatever comes next of the same
object begins with its newest entry. So an entry is no longer than a bundle can hold, ends as
canonical ones do, names the object that its columns name, and has no higher a revision than there
are entries.
What the log says of itself, only who may give leaves says.

The size is checked of new rows alone, so that a database that holds a longer one can be migrated:
verification names it, and the sealer leaves it out.
"""

import re
from typing import ClassVar

from django.db import migrations

from audit.models.erasable import FUNCTIONS

SIZE = """
ALTER TABLE audit_entry ADD CONSTRAINT entry_size CHECK (octet_length(data) <= 65535) NOT VALID;
"""
DROP_SIZE = "ALTER TABLE audit_entry DROP CONSTRAINT entry_size;"

# Every record that is ever written goes through here: one regular expression over a hundred bytes,
# and nothing is parsed. Schemas are named, or a temporary table or type could stand in.
STAMP = r"""
CREATE OR REPLACE FUNCTION audit_stamp_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  head pg_catalog.text := '"id":"' || NEW.object_id || '","model":"' || NEW.model || '","op":"';
  rest pg_catalog.text := split_part(convert_from(substring(NEW.data
    FROM greatest(1, octet_length(NEW.data) - octet_length(head) - 300)), 'UTF8'), head, 2);
  kind pg_catalog.text;
BEGIN
  IF rest !~ '^[a-z][a-z0-9_.]*","prev":"[0-9a-f]*","rev":[1-9][0-9]*,"type":"[a-z]+","v":1\}$'
    OR strpos(NEW.object_id || NEW.model, '"') > 0
    OR split_part(split_part(rest, '"rev":', 2), ',', 1)::numeric > NEW.id
  THEN
    RAISE EXCEPTION 'these bytes are no entry of % %', NEW.model, NEW.object_id
      USING ERRCODE = 'check_violation', CONSTRAINT = 'entry_form';
  END IF;
  IF right(rest, 20) <> ',"type":"rev","v":1}' OR NEW.model = 'log' THEN
    kind := substring(rest FROM '"type":"([a-z]+)"');
    IF kind = 'erase' AND NEW.model <> 'log' THEN
      NULL;  -- its own trigger has looked at it
    ELSIF NEW.model <> 'log' OR kind NOT IN ('heartbeat', 'succession')
      OR NOT has_table_privilege('public.audit_leaf', 'INSERT')
    THEN
      RAISE EXCEPTION '% writes no entry of type % and model %', current_user, kind, NEW.model
        USING ERRCODE = 'insufficient_privilege';
    END IF;
  END IF;
  NEW.xid := pg_current_xact_id();
  NEW.recorded_at := clock_timestamp();
  RETURN NEW;
END $$;
"""
OLD_STAMP = """
CREATE OR REPLACE FUNCTION audit_stamp_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.xid := pg_current_xact_id();
  NEW.recorded_at := clock_timestamp();
  RETURN NEW;
END $$;
"""

# What an earlier entry of the object looks like must not stop its erasure.
ERASING = r"""
CREATE OR REPLACE FUNCTION audit_salted_names(data bytea) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN ARRAY(SELECT k FROM jsonb_object_keys(convert_from(data, 'UTF8')::jsonb -> 'fields') k
    ORDER BY k COLLATE "C");
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN '{}';  -- no entry: there is nothing that its salts could show
END $$;
"""


def _again(name: str) -> str:
    """Return a function of the erasures' as it was first defined, to be put back."""
    found = re.search(rf"CREATE FUNCTION {name}\(.*?\n(?:END )?\$\$;\n", FUNCTIONS, re.DOTALL)
    assert found is not None
    return found[0].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)


_JSON_REVISION = "said -> 'rev' IS DISTINCT FROM convert_from(before, 'UTF8')::jsonb -> 'rev'"
_LAST_REVISION = (
    "said ->> 'rev' IS DISTINCT FROM substring(encode(before, 'escape')"
    """ FROM '"rev":([1-9][0-9]*),"type":"[a-z]+","v":1}$')"""
)
_CHECK = _again("audit_check_erase_entry")
_ALL_SALTS = "AND audit_salted_names(e.data) && erased.names;"
_WHOLE_SALTS = f"""AND octet_length(s.salts) = 32 * cardinality(audit_salted_names(e.data))
    {_ALL_SALTS}"""
_ERASE = _again("audit_erase")
assert _JSON_REVISION in _CHECK
assert _ALL_SALTS in _ERASE


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0007_damage")]
    operations: ClassVar = [
        migrations.RunSQL(SIZE, DROP_SIZE),
        migrations.RunSQL(STAMP, OLD_STAMP),
        migrations.RunSQL(ERASING, _again("audit_salted_names")),
        migrations.RunSQL(_ERASE.replace(_ALL_SALTS, _WHOLE_SALTS), _ERASE),
        migrations.RunSQL(_CHECK.replace(_JSON_REVISION, _LAST_REVISION), _CHECK),
    ]
