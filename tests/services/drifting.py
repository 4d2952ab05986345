"""What the tests about drift at targets share."""

from typing import Any

from approvals import handlers
from approvals.connectors.protocol import GrantSpec
from approvals.models import (
    AccessRequest,
    Finding,
    GrantEvent,
)
from approvals.services import reconciliation
from tests.connectors.moments import now
from tests.world import World


def look(world: World, times: int = 1) -> None:
    for _ in range(times):
        assert reconciliation.observe(resource_id=world.resource.pk)


def work() -> None:
    handlers.work("provisioning")


def found(**narrow: Any) -> list[tuple[str, str, str]]:
    """Return (kind, login, entitlement) of the confirmed findings that stand."""
    rows = Finding.objects.filter(confirmed_at__isnull=False, resolved_at__isnull=True, **narrow)
    return sorted(rows.values_list("kind", "login", "entitlement__name"))


def events(request: AccessRequest) -> list[str]:
    rows = GrantEvent.objects.filter(request_id=request.request_id).order_by("id")
    return list(rows.values_list("kind", flat=True))


def spec(login: str, entitlement: str) -> GrantSpec:
    """Return what somebody does at the target without the portal."""
    return GrantSpec(
        now=now(), request_id="by-hand", subject_login=login, subject_email=f"{login}@example.com",
        resource="orders-db", entitlement=entitlement, resource_settings={},
        entitlement_settings={},
    )  # fmt: skip
