"""What the database keeps of the ledger by itself: stamps, order of ids, append-only tables.

An entry's id is the database's alone and uncached, so that within one object, which its writer
holds, ids have the order in which the object's entries were written.
"""

from typing import Any, ClassVar

from django.db import migrations

from audit.models.guards import append_only

STAMPS = """
CREATE FUNCTION audit_stamp_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.xid := pg_current_xact_id();
  NEW.recorded_at := clock_timestamp();
  RETURN NEW;
END $$;
CREATE TRIGGER audit_entry_stamp BEFORE INSERT ON audit_entry
  FOR EACH ROW EXECUTE FUNCTION audit_stamp_entry();
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_stamp;
ALTER TABLE audit_entry ALTER COLUMN id SET GENERATED ALWAYS;
ALTER TABLE audit_entry ALTER COLUMN id SET CACHE 1;
ALTER TABLE audit_entry ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE audit_salt ALTER COLUMN salts SET STORAGE EXTERNAL;
ALTER TABLE audit_entry SET (toast_tuple_target = 8160);
ALTER TABLE audit_salt SET (toast_tuple_target = 8160);

CREATE FUNCTION audit_stamp_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.signed_at := clock_timestamp();
  RETURN NEW;
END $$;
CREATE TRIGGER audit_checkpoint_stamp BEFORE INSERT ON audit_checkpoint
  FOR EACH ROW EXECUTE FUNCTION audit_stamp_checkpoint();
ALTER TABLE audit_checkpoint ENABLE ALWAYS TRIGGER audit_checkpoint_stamp;
"""
DROP_STAMPS = """
DROP TRIGGER audit_entry_stamp ON audit_entry;
DROP FUNCTION audit_stamp_entry();
DROP TRIGGER audit_checkpoint_stamp ON audit_checkpoint;
DROP FUNCTION audit_stamp_checkpoint();
"""


def refuse_unlogged_records(apps: Any, schema_editor: Any) -> None:
    """Stop where records exist that were written before there was a log to enter them in.

    No release had such a database. Their hashes can't be brought into the log without changing
    rows that must not change.
    """
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('approvals_accessrequest')")
        if cursor.fetchone()[0] is None:
            return
        cursor.execute("SELECT EXISTS (SELECT 1 FROM approvals_accessrequest)")
        if cursor.fetchone()[0]:
            raise RuntimeError(
                "This database holds requests from before the ledger (a development version). "
                "Start with an empty database; for the demo, remove its directory."
            )


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0002_ledger")]
    operations: ClassVar = [
        migrations.RunPython(refuse_unlogged_records, migrations.RunPython.noop),
        migrations.RunSQL(STAMPS, DROP_STAMPS),
        *(
            append_only(f"audit_{table}", stamped=False)
            for table in ("entry", "salt", "log", "leaf", "node", "checkpoint")
        ),
    ]
