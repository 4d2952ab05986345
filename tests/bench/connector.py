"""The target of the benches: it does nothing, so that only the portal's own work is measured.

It holds what was granted, as a look at it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import ClassVar

from django.db import connection

from approvals.connectors import registry
from approvals.connectors.protocol import (
    Connector,
    Field,
    GrantSpec,
    Health,
    Held,
    Receipt,
    Settings,
    Step,
)

# Asked so that it costs little: a target of one's own would not ask this database at all.
_HELD = """
SELECT u.username, things.names[array_position(things.ids, c.entitlement_id)]
FROM approvals_currentrequest c JOIN approvals_user u ON u.id = c.subject_id
CROSS JOIN (SELECT array_agg(e.id) AS ids, array_agg(e.name) AS names FROM approvals_entitlement e
    JOIN approvals_resource r ON r.id = e.resource_id
    WHERE r.name = %(resource)s AND e.name = ANY(%(names)s::text[])) things
WHERE c.state = 'active' AND c.entitlement_id = ANY(ARRAY(
    SELECT e.id FROM approvals_entitlement e JOIN approvals_resource r ON r.id = e.resource_id
    WHERE r.name = %(resource)s AND e.name = ANY(%(names)s::text[])))
"""


class Nothing(Connector):
    """Every call succeeds at once."""

    key: ClassVar[str] = "bench"
    title: ClassVar[str] = "Bench"
    glyph: ClassVar[str] = "BE"
    needs_secret: ClassVar[bool] = False
    ends_at_target: ClassVar[bool] = False
    resource_fields: ClassVar[tuple[Field, ...]] = (
        Field(name="database", label="Database", help="The name of the resource itself."),
    )
    entitlement_fields: ClassVar[tuple[Field, ...]] = ()

    def grant(self, spec: GrantSpec) -> Receipt:
        return Receipt(detail={})

    def revoke(self, spec: GrantSpec) -> Receipt:
        return Receipt(detail={})

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        with connection.cursor() as cursor:
            names = {"resource": resource_settings.get("database"), "names": list(entitlements)}
            cursor.execute(_HELD, names)
            return [Held(login, name) for login, name in cursor.fetchall()]

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        return Health(ok=True, message="Nothing to do, and ready for it.", latency_ms=0.0)

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        return [Step("Connect", "There is nothing to connect to.")]

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        return []


_installed = ExitStack()


def install() -> None:
    """Let this process know the target, until it ends."""
    _installed.enter_context(registry.registered(Nothing()))
