"""The database takes salts only beside their entry, from the transaction that writes it.

Salts of entries that are yet to come would be in every writer's way for ever: the table is
append-only, and an entry's id is the next one of a sequence.
"""

from typing import ClassVar

from django.db import migrations

# Every record that is ever written goes through here: one look-up by the primary key. The schema is
# named, or a temporary table could stand in for the entries.
GUARD = """
CREATE FUNCTION audit_check_salt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM public.audit_entry
      WHERE id = NEW.entry_id AND xid = pg_current_xact_id()) THEN
    RAISE EXCEPTION 'no entry % was written by this transaction', NEW.entry_id
      USING ERRCODE = 'restrict_violation',
            HINT = 'Salts are written with their entry.';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER audit_salt_check BEFORE INSERT ON audit_salt
  FOR EACH ROW EXECUTE FUNCTION audit_check_salt();
ALTER TABLE audit_salt ENABLE ALWAYS TRIGGER audit_salt_check;
"""
DROP_GUARD = """
DROP TRIGGER audit_salt_check ON audit_salt;
DROP FUNCTION audit_check_salt();
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0010_verification_note")]
    operations: ClassVar = [migrations.RunSQL(GUARD, DROP_GUARD)]
