"""The table of the shared cache, which counts sign-in attempts over all web processes."""

from typing import Any, ClassVar

from django.core.management import call_command
from django.db import migrations


def create(apps: Any, schema_editor: Any) -> None:
    call_command("createcachetable", database=schema_editor.connection.alias, verbosity=0)


class Migration(migrations.Migration):
    dependencies: ClassVar = []
    operations: ClassVar = [
        migrations.RunPython(create, migrations.RunPython.noop),
    ]
