"""Keys that came with a person's writes, which are their own words, go when they are erased."""

from typing import ClassVar

from django.db import migrations

ERASE = """
CREATE FUNCTION approvals_erase_keyed(person bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF cardinality(audit_erased_now('user', person::text, '')) = 0 THEN
    RAISE EXCEPTION 'person % is not being erased', person USING ERRCODE = 'insufficient_privilege';
  END IF;
  DELETE FROM approvals_keyedwrite w WHERE w.person_id = person;
END $$;
REVOKE EXECUTE ON FUNCTION approvals_erase_keyed(bigint) FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0022_decided_together")]

    operations: ClassVar = [
        migrations.RunSQL(ERASE, "DROP FUNCTION approvals_erase_keyed(bigint);"),
    ]
