"""No guard of the ledger takes a temporary table or type for the one that it means."""

from typing import ClassVar

from django.db import migrations

from audit.models.guards import pin_search_path

# As their sources have them by now. Whatever else they say since stays.
QUALIFY = r"""
DO $do$
BEGIN
  EXECUTE regexp_replace(pg_get_functiondef('public.audit_stamp_entry'::regproc),
    '\m(head|rest|kind) text\M', '\1 pg_catalog.text', 'g');
  EXECUTE replace(pg_get_functiondef('public.audit_is_erasure'::regproc),
    '}''::bytea', '}''::pg_catalog.bytea');
END $do$;
"""


class Migration(migrations.Migration):
    """See the module."""

    dependencies: ClassVar = [("audit", "0011_salts")]

    operations: ClassVar = [
        migrations.RunSQL(QUALIFY, migrations.RunSQL.noop),
        pin_search_path("audit_"),
    ]
