"""The history of people's public keys, which an erasure blanks."""

from typing import ClassVar

from django.db import migrations

from audit.models.erasable import erasable


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0006_lease")]
    operations: ClassVar = [erasable("approvals_historicalpublickey", "publickey||id")]
