"""The functions behind every append-only table."""

from typing import ClassVar

from django.db import migrations

from audit.models.guards import DROP_REFUSE_FUNCTION, REFUSE_FUNCTION


class Migration(migrations.Migration):
    dependencies: ClassVar = []
    operations: ClassVar = [migrations.RunSQL(REFUSE_FUNCTION, DROP_REFUSE_FUNCTION)]
