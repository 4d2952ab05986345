"""What connectors are told of a grant, whatever this host believes."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine

from approvals import handlers
from approvals.connectors.protocol import GrantSpec, Health, Held, Receipt
from approvals.selectors import clock
from approvals.services import grants, provisioning
from tests.connectors.moments import now
from tests.connectors.noop import Noop
from tests.services.drifting import look
from tests.world import World


@pytest.fixture
def told(noop: Noop, monkeypatch: pytest.MonkeyPatch) -> list[GrantSpec]:
    """The specs of all calls, in order."""
    found: list[GrantSpec] = []
    for name in ("grant", "revoke"):

        def call(spec: GrantSpec, name: str = name) -> Receipt:
            found.append(spec)
            return getattr(Noop, name)(noop, spec)  # type: ignore[no-any-return]

        monkeypatch.setattr(noop, name, call)
    return found


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_moment_is_the_databases(world: World, told: list[GrantSpec], hours: int) -> None:
    with time_machine.travel(now() + timedelta(hours=hours)):
        active = world.active(minutes=40)
        grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
        handlers.work("provisioning")
    assert len(told) == 2
    for spec in told:
        assert abs(spec.moment() - now()) < timedelta(minutes=1)
    granted, removed = told
    assert granted.ends_at == granted.moment() + timedelta(minutes=40)
    assert removed.ends_at is not None
    assert removed.ends_at > removed.moment()


def test_looks_and_checks_are_told_it_too(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = []

    def observe(**given: Any) -> list[Held]:
        moments.append(given["now"])
        return []

    def check(**given: Any) -> Health:
        moments.append(given["now"])
        return Health(ok=True, message="Well.")

    monkeypatch.setattr(noop, "observe", observe)
    monkeypatch.setattr(noop, "check", check)
    with time_machine.travel(now() + timedelta(hours=1)):
        look(world)
        provisioning.check(world.resource)
    assert len(moments) == 2
    assert all(abs(moment - now()) < timedelta(minutes=1) for moment in moments)
