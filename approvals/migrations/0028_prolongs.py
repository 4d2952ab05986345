"""Whether one request prolongs another, over any number of extensions."""

from typing import ClassVar

from django.db import migrations

PROLONGS = """
-- Begins with what a request extends. A function, since the planner takes a recursive query for
-- dear, and finds the few requests that are asked about by reading all that are active.
CREATE FUNCTION approvals_prolongs(extended uuid, pinned uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  WHILE extended <> pinned LOOP
    SELECT c.extends INTO extended FROM approvals_currentrequest c WHERE c.request_id = extended;
  END LOOP;
  RETURN extended IS NOT NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0027_search_path")]

    operations: ClassVar = [
        migrations.RunSQL(PROLONGS, "DROP FUNCTION approvals_prolongs(uuid, uuid);"),
    ]
