"""Approver patterns: speed, batches, concentration, and who approve each other."""

from datetime import UTC, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from approvals.models import Group, Membership, User
from approvals.reports import registry
from approvals.reports.frame import Filters
from approvals.selectors import clock
from approvals.services import bulk
from tests.world import World

NAME = "approver-patterns"
LATER = timedelta(seconds=20)


def filters(**more: Any) -> Filters:
    today = clock.now().date()
    values: dict[str, Any] = {
        "first": today - timedelta(days=1), "last": today + timedelta(days=1), "zone": UTC,
    }  # fmt: skip
    return Filters(**(values | more))


def rows(**more: Any) -> dict[str, dict[str, Any]]:
    report = registry.report(NAME)
    found = list(report.rows(filters(**more), None, None))
    assert report.count(filters(**more)) == len(found)
    keys = [column.key for column in report.columns]
    made = [dict(zip(keys, row.cells, strict=True)) for row in found]
    return {row["approver_login"]: row for row in made}


def figures(**more: Any) -> dict[str, str]:
    return dict(registry.report(NAME).figures(filters(**more)))


def people(world: World, number: int) -> list[User]:
    group = Group.objects.get(name="eng")
    made = []
    for each in range(number):
        person = User.objects.create_user(f"p{each}", f"p{each}@x.org", None, manager=world.bob)
        Membership.objects.create(person=person, group=group)
        made.append(person)
    return made


def test_speed_and_share_are_of_all_decisions(world: World) -> None:
    """Four within ten seconds, two later; one of six denied."""
    now = clock.now()
    for number, person in enumerate(people(world, 6)):
        request = world.ask(by=person, now=now)
        seconds = (2, 4, 6, 9.9, 10, 30)[number]
        verdict = "deny" if number == 5 else "approve"
        world.decide(world.bob, request, verdict, now=now + timedelta(seconds=seconds))
    (row,) = rows().values()
    assert (row["approver"], row["decisions"], row["approved_percent"]) == ("Bob", 6, 83.3)
    assert row["median_seconds"] == pytest.approx((6 + 9.9) / 2)
    assert row["p10_seconds"] == pytest.approx(3)
    assert row["under_10_seconds_percent"] == 66.6
    assert row["largest_batch"] == 1
    assert row["stands_out"] == "half within 10 s"
    assert (figures()["Decisions"], figures()["Under 10 s"]) == ("6", "4")


def test_much_at_a_stroke_and_for_one_person_stands_out(world: World) -> None:
    now = clock.now() - timedelta(minutes=1)
    requests = [world.ask(by=person, now=now) for person in people(world, 10)]
    seen = [bulk.Seen(row.request_id, row.revision) for row in requests]
    bulk.decide(
        actor=world.bob, seen=seen, verdict="approve", comment="", clock=lambda: now + LATER
    )
    assert {row["largest_batch"] for row in rows().values()} == {10}
    assert rows()["bob"]["stands_out"] == "10 or more at a stroke"
    assert rows()["bob"]["busiest_requester_percent"] == 10
    for _ in range(40):
        world.decide(world.bob, world.ask(now=now), "deny", now=now + LATER)
    busy = rows()["bob"]
    assert (busy["busiest_requester"], busy["busiest_requester_percent"]) == ("Alice", 80)
    assert busy["stands_out"] == "10 or more at a stroke, mostly for one person"


def test_who_approve_each_other_are_a_pair(world: World, client: Client) -> None:
    now = clock.now() - timedelta(minutes=1)
    of_dan = world.ask(by=world.dan, now=now)
    world.decide(world.carol, of_dan, now=now + LATER)
    assert figures()["Reciprocal pairs"] == "0"
    of_carol = world.ask(what=world.own, by=world.carol, ticket="X-1", now=now)
    world.decide(world.dan, of_carol, now=now + LATER)
    found = rows()
    assert {login: row["reciprocal_with"] for login, row in found.items()} == {
        "carol": "Dan", "dan": "Carol",
    }  # fmt: skip
    assert {row["stands_out"] for row in found.values()} == {"approve each other"}
    assert (figures()["Reciprocal pairs"], figures()["Stand out"]) == ("1", "2")
    assert rows(person_id=world.dan.pk).keys() == {"dan"}
    assert figures(person_id=world.dan.pk)["Reciprocal pairs"] == "1"
    client.force_login(world.dora)
    page = client.get(reverse("reports")).content.decode()
    line = page[page.index("Approvers who stand out") :]
    assert '<td class="right num"><b>2</b></td>' in line[: line.index("</tr>")]
    table = client.get(reverse("report", args=[NAME])).content.decode()
    assert "approve each other" in table
    assert 'class="chart"' not in table, "its rows lie in no week"


def test_a_denial_makes_no_pair(world: World) -> None:
    now = clock.now() - timedelta(minutes=1)
    world.decide(world.carol, world.ask(by=world.dan, now=now), now=now + LATER)
    of_carol = world.ask(what=world.own, by=world.carol, ticket="X-1", now=now)
    world.decide(world.dan, of_carol, "deny", now=now + LATER)
    assert {row["reciprocal_pairs"] for row in rows().values()} == {0}
