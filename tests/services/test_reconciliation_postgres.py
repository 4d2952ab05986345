"""Drift at a real PostgreSQL, both ways: roles given and taken behind the portal's back."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from approvals import handlers
from approvals.models import AccessRequest, Entitlement, Finding, GrantEvent, Resource
from approvals.selectors import clock, drift
from approvals.services import grants, reconciliation
from tests.conftest import cluster
from tests.world import World, notices

PORTALS, ROLE, PASSWORD = "drift_jit", "drift_rw", "n0t a secret"
PEOPLE = ("alice", "dan", "batch_job")


@dataclass(frozen=True)
class Target:
    """The server as its superuser sees it, without any code of the portal's."""

    superuser: psycopg.Connection[Any]

    def run(self, statement: str, *names: str) -> None:
        self.superuser.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def members(self) -> set[str]:
        rows = self.superuser.execute(
            "SELECT l.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid"
            " JOIN pg_roles l ON l.oid = m.member WHERE r.rolname = %s AND l.rolname <> %s",
            [ROLE, PORTALS],
        )
        return {row[0] for row in rows}


@pytest.fixture
def target() -> Iterator[Target]:
    with psycopg.connect(cluster().superuser_url("postgres"), autocommit=True) as superuser:
        it = Target(superuser)
        it.run("CREATE ROLE {}", ROLE)
        it.run(f"CREATE ROLE {{}} LOGIN PASSWORD '{PASSWORD}'", PORTALS)
        it.run("GRANT {} TO {} WITH ADMIN OPTION", ROLE, PORTALS)
        it.run("GRANT pg_signal_backend TO {}", PORTALS)
        for person in PEOPLE:
            it.run("CREATE ROLE {} LOGIN", person)
        yield it
        # What the portal's login has granted goes with its own right to grant.
        it.run("REVOKE {} FROM {} CASCADE", ROLE, PORTALS)
        for name in (*PEOPLE, PORTALS, ROLE):
            it.run("DROP ROLE {}", name)


@pytest.fixture
def entitlement(
    world: World, target: Target, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> Entitlement:
    """The role, which alice's group may have at once."""
    url = cluster().superuser_url("postgres")
    host = url.rpartition("@")[2]
    monkeypatch.setenv("DRIFT_DSN", f"postgresql://{PORTALS}:{PASSWORD.replace(' ', '%20')}@{host}")
    resource = Resource.objects.create(
        name="real-db", connector="postgres_role", secret="env:DRIFT_DSN", owner=world.carol
    )
    return Entitlement.objects.create(
        resource=resource, name="rw", risk="low", policy=world.read.policy, settings={"role": ROLE}
    )


def look(entitlement: Entitlement, times: int = 2) -> None:
    for _ in range(times):
        assert reconciliation.observe(resource_id=entitlement.resource_id)
    assert entitlement.resource.observation.error == ""


def active(world: World, entitlement: Entitlement) -> AccessRequest:
    request = world.newest(world.ask(what=entitlement))
    handlers.work("provisioning")
    request = world.newest(request)
    assert request.state == "active"
    return request


def resolutions() -> list[tuple[str, str, str]]:
    return list(Finding.objects.order_by("id").values_list("kind", "login", "resolution"))


def test_a_role_that_was_granted_again_behind_our_back_goes_again(
    world: World, target: Target, entitlement: Entitlement
) -> None:
    request = active(world, entitlement)
    assert target.members() == {"alice"}
    assert request.ends_at is not None
    grants.end_due(now=request.ends_at)
    handlers.work("provisioning", now=request.ends_at)
    assert target.members() == set()
    # By whoever has the portal's credentials, or a script that took its login.
    target.run("GRANT {} TO {} GRANTED BY {}", ROLE, "alice", PORTALS)
    look(entitlement)
    assert len(notices("leftover")) == 2
    handlers.work("provisioning")
    assert target.members() == set()
    look(entitlement, 1)
    assert resolutions() == [("leftover", "alice", "repaired")]
    rows = GrantEvent.objects.filter(request_id=request.request_id).order_by("id")
    assert [row.kind for row in rows] == ["granted", "removed", "found", "gone"]
    assert world.newest(request).state == "expired"


def test_a_role_that_a_superuser_gave_needs_them_and_the_page_says_so(
    world: World, target: Target, entitlement: Entitlement
) -> None:
    """Since PostgreSQL 16 the portal's login can't take what another one has granted."""
    request = active(world, entitlement)
    grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
    handlers.work("provisioning")
    target.run("GRANT {} TO {}", ROLE, "alice")
    look(entitlement)
    handlers.work("provisioning")
    look(entitlement, 3)
    [row] = drift.findings()
    assert row.finding.repairs == 1, "the first one is tried again and again"
    if target.superuser.info.server_version >= 160000:
        assert 'granted by "postgres"' in row.error
        target.run("REVOKE {} FROM {}", ROLE, "alice")
    handlers.work("provisioning", now=clock.now() + timedelta(hours=1))
    look(entitlement, 1)
    assert resolutions() == [("leftover", "alice", "repaired")]
    assert target.members() == set()


def test_a_role_that_was_taken_behind_our_back_is_there_again_until_its_end(
    world: World, target: Target, entitlement: Entitlement
) -> None:
    request = active(world, entitlement)
    # As whoever granted it, as a superuser may since 16.
    target.run("REVOKE {} FROM {} GRANTED BY {}", ROLE, "alice", PORTALS)
    assert target.members() == set()
    look(entitlement)
    handlers.work("provisioning")
    assert target.members() == {"alice"}
    assert request.ends_at is not None
    grants.end_due(now=request.ends_at)
    handlers.work("provisioning", now=request.ends_at)
    assert target.members() == set()


def test_a_role_that_was_taken_is_not_granted_anew_after_its_end(
    world: World, target: Target, entitlement: Entitlement
) -> None:
    request = active(world, entitlement)
    target.run("REVOKE {} FROM {} GRANTED BY {}", ROLE, "alice", PORTALS)
    look(entitlement)
    assert request.ends_at is not None
    grants.end_due(now=request.ends_at)  # while the repair waits
    handlers.work("provisioning", now=request.ends_at)
    look(entitlement, 3)
    handlers.work("provisioning", now=request.ends_at)
    assert target.members() == set()
    assert resolutions() == [("missing", "alice", "ended")]


def test_roles_from_before_the_portal_are_listed_and_left(
    world: World, target: Target, entitlement: Entitlement
) -> None:
    target.run("GRANT {} TO {}, {}", ROLE, "dan", "batch_job")
    active(world, entitlement)
    look(entitlement, 4)
    handlers.work("provisioning")
    assert sorted(resolutions()) == [("standing", "dan", ""), ("unmatched", "batch_job", "")]
    assert target.members() == {"alice", "dan", "batch_job"}
    assert Finding.objects.get(login="dan").person == world.dan


def test_a_server_that_is_away_changes_no_finding(
    world: World, target: Target, entitlement: Entitlement, monkeypatch: pytest.MonkeyPatch
) -> None:
    active(world, entitlement)
    monkeypatch.setenv("DRIFT_DSN", "postgresql://nobody@127.0.0.1:1/postgres")
    assert reconciliation.observe(resource_id=entitlement.resource_id)
    seen = entitlement.resource.observation
    assert seen.error
    assert not seen.permanent
    assert not Finding.objects.exists()
    assert seen.finished_at is not None
    assert seen.succeeded_at is None
