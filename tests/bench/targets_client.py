"""Child of the targets bench: mints the logins of active access, as the connector does."""

from __future__ import annotations

from typing import Any

import django

django.setup()

from approvals.connectors import registry  # noqa: E402
from approvals.connectors.protocol import GrantSpec  # noqa: E402
from approvals.models import AccessRequest, CurrentRequest  # noqa: E402
from approvals.selectors import clock  # noqa: E402
from tests.bench import company, ground  # noqa: E402


def mint(resource: str, role: str, dsn: str) -> list[dict[str, Any]]:
    """Make the login of each active access at `resource`; return how to use it and until when."""
    active = CurrentRequest.objects.filter(state="active").values("record_id")
    records = AccessRequest.objects.filter(id__in=active, resource_name=resource)
    return [_minted(record, role, dsn) for record in records.select_related("subject")]


def _minted(record: AccessRequest, role: str, dsn: str) -> dict[str, Any]:
    assert record.ends_at is not None
    receipt = registry.get("postgres_login").grant(
        GrantSpec(
            request_id=str(record.request_id),
            subject_login=record.subject.username,
            subject_email=record.subject.email,
            resource=record.resource_name,
            entitlement=record.entitlement_name,
            resource_settings={},
            entitlement_settings={"role": role},
            secret=dsn,
            ends_at=record.ends_at,
            now=clock.now(),
        )
    )
    lines = (line.partition("=") for line in receipt.handover[0].text.splitlines())
    told = {name: value for name, _, value in lines}
    return {
        "user": told["user"],
        "password": told["password"],
        "ends_at": record.ends_at.timestamp(),
    }


if __name__ == "__main__":
    ground.answer({"build": company.build, "mint": mint})
