"""The demo's history for tests that want a long and varied one."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import override_settings

from approvals.management.demo_world import plans


def seed(**options: Any) -> str:
    """Run the command in this database; return what it said."""
    out = StringIO()
    with override_settings(DEMO=True):
        call_command("seed_demo", stdout=out, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def told(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """What the command said, in a transaction that is undone after this module's tests.

    A quarter of the demo's time is enough here.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "DAYS", 40)
        with django_db_blocker.unblock(), transaction.atomic():
            yield seed()
            transaction.set_rollback(True)
    connection.close()
