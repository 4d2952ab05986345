"""The report of orphaned access against an independent count in SQL."""

from datetime import timedelta

import pytest

from approvals.models import Finding, Resource
from approvals.selectors import clock
from approvals.services import findings
from tests.connectors.noop import Noop
from tests.reports.test_counts import another, figures, filters, rows, sql
from tests.services.drifting import look, spec, work
from tests.world import World

pytestmark = pytest.mark.usefixtures("at_once")


def test_each_confirmed_finding_of_access_is_a_line(world: World, noop: Noop) -> None:
    over = world.ended()
    Resource.objects.update(drift_policy="report")
    noop.grant(spec("alice", "read-write"))  # its grant has ended
    noop.grant(spec("dan", "read"))  # never granted
    noop.grant(spec("deploy-bot", "owner"))  # nobody the portal knows
    look(world, 2)
    world.active(by=another(world, "frank"))
    noop.revoke(spec("frank", "read-write"))  # granted and missing: no access
    noop.grant(spec("carol", "read"))  # seen once, so not confirmed
    look(world)
    kept = Finding.objects.get(login="dan", kind="standing")
    findings.keep(actor=world.dora, finding_id=kept.pk, reason="He is on call.", now=clock.now())

    found = {row["login"]: row for row in rows("orphaned-access")}
    expected = sql(
        "SELECT f.login, f.kind, f.first_seen_at, f.repairs FROM approvals_finding f"
        " WHERE f.kind IN ('leftover', 'standing', 'unmatched') AND f.confirmed_at IS NOT NULL"
    )
    assert {
        (row["login"], row["kind"], row["first_seen_at"], row["repairs"]) for row in found.values()
    } == set(expected)
    assert found.keys() == {"alice", "dan", "deploy-bot"}
    assert {login: row["resolution"] for login, row in found.items()} == {
        "alice": "still there", "dan": "kept", "deploy-bot": "still there",
    }  # fmt: skip
    assert (found["alice"]["request_id"], found["alice"]["person"]) == (
        str(over.request_id), "Alice",
    )  # fmt: skip
    assert (found["dan"]["kept_by"], found["dan"]["kept_because"], found["dan"]["request"]) == (
        "Dora", "He is on call.", "",
    )  # fmt: skip
    assert {row["owner"] for row in found.values()} == {"Carol"}
    assert figures("orphaned-access") == {
        "Left over": "1", "Standing": "1", "Unknown name": "1", "Still there": "3",
    }  # fmt: skip
    assert len(rows("orphaned-access", filters(person_id=world.alice.pk))) == 1
    assert len(rows("orphaned-access", filters(resource_id=world.resource.pk))) == 3


def test_what_is_gone_says_how_and_what_stands_is_in_every_later_period(
    world: World, noop: Noop
) -> None:
    world.ended()
    noop.grant(spec("alice", "read-write"))
    noop.grant(spec("dan", "read"))
    look(world, 2)
    work()
    look(world)
    found = {row["login"]: row for row in rows("orphaned-access")}
    ((age,),) = sql(
        "SELECT extract(epoch FROM resolved_at - first_seen_at) FROM approvals_finding"
        " WHERE login = 'alice'"
    )
    assert (found["alice"]["resolution"], found["alice"]["repairs"]) == ("repaired", 1)
    assert found["alice"]["age_seconds"] == pytest.approx(float(age), abs=0.001)
    later = clock.now().date() + timedelta(days=40)
    still = rows("orphaned-access", filters(first=later, last=later))
    assert [row["login"] for row in still] == ["dan"]
    earlier = clock.now().date() - timedelta(days=40)
    assert rows("orphaned-access", filters(first=earlier, last=earlier)) == []
