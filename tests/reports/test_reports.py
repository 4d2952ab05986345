"""What each report's rows say, compared with the records they are made of."""

import itertools
import tracemalloc
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from datetime import timezone as tz
from typing import Any

import pytest
from django.utils import timezone

from approvals import handlers
from approvals.models import AccessRequest, Decision, Group, Membership, User
from approvals.reports import figures, frame, registry, tables
from approvals.reports.frame import Column, Filters, Report, Row
from approvals.reports.removal_timeliness import Measured
from approvals.selectors import clock
from approvals.selectors.requests import Cursor
from approvals.services import grants
from tests.world import World


def filters(**more: Any) -> Filters:
    today = timezone.localdate()
    values: dict[str, Any] = {"first": today - timedelta(days=1), "last": today, "zone": UTC}
    return Filters(**(values | more))


#: Reports whose rows are requests, so that a person's and a resource's filter mean them.
OF_REQUESTS = (
    "who-had-access", "request-population", "approval-decisions", "active-as-of",
    "removal-timeliness",
)  # fmt: skip


def rows(name: str, chosen: Filters | None = None) -> list[dict[str, Any]]:
    report = registry.report(name)
    found = list(report.rows(chosen or filters(), None, None))
    assert report.count(chosen or filters()) == len(found)
    keys = [column.key for column in report.columns]
    return [dict(zip(keys, row.cells, strict=True)) for row in found]


def test_who_had_access_tells_the_whole_life_of_a_grant(world: World) -> None:
    request = world.ended(minutes=5, ticket="INC-1", reason="Refunds.")
    (row,) = rows("who-had-access")
    decisions = Decision.objects.order_by("id")
    assert row["approved_by"] == tuple((d.actor_name, d.occurred_at) for d in decisions)
    assert [name for name, _ in row["approved_by"]] == ["Bob", "Carol"]
    lag = request.removal_lag
    assert lag is not None
    expected = {
        "request": request.reference, "request_id": str(request.request_id),
        "subject": "Alice", "requester": "Alice", "resource": "orders-db",
        "entitlement": "read-write", "risk": "high", "reason": "Refunds.", "ticket": "INC-1",
        "submitted_at": request.submitted_at, "activated_at": request.activated_at,
        "due_end_at": request.ends_at, "ended_why": "time ran out",
        "removal_due_at": request.removal_due_at,
        "removal_started_at": request.removal_started_at,
        "removal_confirmed_at": request.removal_confirmed_at,
        "removal_lag_ms": round(lag.total_seconds() * 1000), "state": "expired",
        "policy": "orders-read-write version 1",
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected


def test_access_that_nobody_had_is_not_in_it(world: World) -> None:
    world.ask()
    world.ask(what=world.own, ticket="X-1")
    assert rows("who-had-access") == []


def test_access_that_no_person_approved_names_its_rule(world: World) -> None:
    world.ask(what=world.read)
    handlers.work("provisioning")
    (row,) = rows("who-had-access")
    assert row["approved_by"] == (("rule of orders-read", None),)
    assert (row["state"], row["ended_why"], row["removal_lag_ms"]) == ("active", "", None)


@pytest.mark.parametrize(
    ("first", "last", "is_in"),
    [(-9, -1, False), (-9, 0, True), (0, 0, True), (1, 9, False)],
)
def test_a_grant_is_in_every_period_that_it_lay_in(
    world: World, first: int, last: int, is_in: bool
) -> None:
    world.ended(minutes=1)
    today = timezone.localdate()
    chosen = filters(first=today + timedelta(days=first), last=today + timedelta(days=last))
    assert bool(rows("who-had-access", chosen)) is is_in


def test_a_grant_that_goes_on_is_in_later_periods(world: World) -> None:
    world.active()
    today = timezone.localdate()
    days = {"first": today + timedelta(days=2), "last": today + timedelta(days=9)}
    seen_then = clock.now() + timedelta(days=3)
    assert len(rows("who-had-access", filters(**days, at=seen_then))) == 1


def test_a_period_that_goes_on_is_told_up_to_now(world: World) -> None:
    request = world.active()
    assert request.activated_at is not None
    today = timezone.localdate()
    for step, known in ((timedelta(0), 0), (timedelta(microseconds=1), 1)):
        chosen = filters(
            first=today, last=today + timedelta(days=9), at=request.activated_at + step
        )
        assert chosen.is_cut
        assert (chosen.end, chosen.moment) == (chosen.at, chosen.at)
        assert len(rows("who-had-access", chosen)) == known
    whole = filters(first=today - timedelta(days=9), last=today - timedelta(days=2), at=clock.now())
    assert not whole.is_cut
    assert whole.end.date() == today - timedelta(days=1)


def test_access_that_was_gone_at_the_first_moment_was_not_there(world: World) -> None:
    """In a period and at a moment alike: gone at exactly that moment is gone."""
    gone_at = world.ended(minutes=1).removal_confirmed_at
    assert gone_at is not None
    hair = timedelta(microseconds=1)
    for moment, there in ((gone_at - hair, 1), (gone_at, 0), (gone_at + hair, 0)):
        assert len(rows("active-as-of", filters(at=moment))) == there
        # A zone whose midnight is that moment: its day begins with it.
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        zone = tz(-(moment - midnight))
        day = moment.astimezone(zone)
        assert (day.hour, day.minute, day.second, day.microsecond) == (0, 0, 0, 0)
        chosen = filters(first=day.date(), last=day.date(), zone=zone)
        assert chosen.start == moment
        assert len(rows("who-had-access", chosen)) == there


@pytest.mark.parametrize("name", OF_REQUESTS)
def test_filters_keep_what_they_name(world: World, name: str) -> None:
    world.ended(minutes=1)
    at = clock.now() + (timedelta(hours=1) if name == "removal-timeliness" else timedelta(0))
    chosen = filters(at=at)
    assert rows(name, chosen)
    assert rows(name, filters(at=at, resource_id=world.resource.pk))
    assert not rows(name, filters(at=at, resource_id=world.resource.pk + 1))
    assert rows(name, filters(at=at, person_id=world.alice.pk))
    assert not rows(name, filters(at=at, person_id=world.mallory.pk))


def test_approval_decisions_tell_each_vote(world: World) -> None:
    request = world.ask(what=world.own, ticket="X-1")
    world.decide(world.carol, request, comment="=cmd")
    newest = world.decide(world.dan, request, "deny", comment="No.")
    second, first = rows("approval-decisions")
    assert first["request"] == request.reference
    assert (first["approver"], first["verdict"], first["comment"]) == ("Carol", "approved", "=cmd")
    assert (second["approver"], second["verdict"]) == ("Dan", "denied")
    assert (first["level"], first["level_name"], first["required_quorum"]) == (1, "Data owners", 2)
    assert (first["approvals_given"], second["approvals_given"]) == (1, 1)
    assert (second["seen_revision"], second["revision"]) == (2, 3)
    assert second["revision_hash"] == bytes(newest.hash).hex()
    assert first["asked_at"] == request.submitted_at
    assert first["seconds_to_decide"] >= 0
    assert (first["subject"], first["resource"], first["entitlement"]) == (
        "Alice", "orders-db", "owner",
    )  # fmt: skip


@pytest.mark.parametrize("name", [report.id for report in registry.REPORTS])
def test_pages_by_keyset_give_every_row_once(world: World, name: str) -> None:
    for number in range(3):
        person = User.objects.create_user(f"p{number}", f"p{number}@x.org", manager=world.bob)
        member = Membership.objects.create(person=person, group=Group.objects.get(name="eng"))
        world.active(by=person)
        member.delete()
        person.is_active = False
        person.save()
    report = registry.report(name)
    everything = list(report.rows(filters(), None, None))
    pages: list[Row] = []
    after: Cursor | None = None
    while page := report.page(filters(), after=after, limit=2):
        pages += page
        after = page[-1].cursor
    assert [row.cells for row in pages] == [row.cells for row in everything]
    assert len(pages) == report.count(filters())
    empty = {  # or shorter: two people approve here
        "approver-patterns", "ledger-integrity", "report-downloads", "removal-timeliness",
        "handovers", "failed-removals", "access-reviews", "orphaned-access", "refused-attempts",
    }  # fmt: skip
    assert len(pages) >= 3 or name in empty
    assert len({row.cursor for row in pages}) == len(pages)
    assert pages == sorted(pages, key=lambda row: row.cursor, reverse=True)
    for row in pages:
        assert len(row.cells) == len(report.columns)


def test_two_decisions_of_one_moment_are_on_two_pages(world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request, now=request.submitted_at)
    world.decide(world.carol, request, now=request.submitted_at)
    report = registry.report("approval-decisions")
    [newer] = report.page(filters(), after=None, limit=1)
    [older] = report.page(filters(), after=newer.cursor, limit=1)
    assert newer.cursor.at == older.cursor.at
    assert [row.cells[6] for row in (newer, older)] == ["Carol", "Bob"]
    assert report.page(filters(), after=older.cursor, limit=1) == []


def test_a_new_report_is_one_small_module(world: World) -> None:
    """The frame needs a query and columns; the file and the page come with it."""

    def denied(chosen: Filters, after: Cursor | None, limit: int | None) -> Iterator[Row]:
        sql = (
            "SELECT occurred_at, request_id, subject_name FROM approvals_accessrequest"
            " WHERE state = 'denied' AND occurred_at < %(end)s ORDER BY occurred_at DESC"
        )
        for at, key, name in frame.selected(sql, chosen.parameters, limit=limit):
            yield Row(Cursor(at, key), key, (name,))

    report = Report(
        "denied", "Denied", "Who was denied", ("AC-2",), (Column("subject", "Subject"),), denied,
        lambda chosen: frame.counted(
            "SELECT count(*) FROM approvals_accessrequest WHERE state = 'denied'", chosen
        ),
    )  # fmt: skip
    world.decide(world.bob, world.ask(), "deny")
    assert report.count(filters()) == 1
    lines = tables.csv_lines(report.columns, report.rows(filters(), None, None), zone=UTC)
    assert list(lines) == ['"subject"\r\n', '"Alice"\r\n']


def test_a_long_report_streams_in_the_same_memory(world: World) -> None:
    """100,000 rows are made by the database; less than 8 MB is held at any moment."""
    sql = (
        "SELECT now() - n * interval '1 second', gen_random_uuid(), repeat('x', 200)"
        " FROM generate_series(1, 100000) n"
    )
    found = (Row(Cursor(at, key), key, (text,)) for at, key, text in frame.stream(sql, {}))
    columns = (Column("text", "Text"),)
    lines = tables.csv_lines(columns, found, zone=UTC)
    next(lines)
    list(itertools.islice(lines, 5000))
    tracemalloc.start()
    count = sum(1 for _ in lines)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 95_000
    assert peak < 8_000_000


def test_the_figures_are_those_of_the_records(world: World) -> None:
    now = clock.now()
    world.ended(minutes=1)
    world.decide(world.bob, world.ask(), "deny")
    waiting = world.ask(what=world.own, ticket="X-1", now=now - timedelta(seconds=90))
    chosen = filters(last=timezone.localdate() + timedelta(days=1))
    found = figures.compute(chosen, now=now, stuck_after=timedelta(minutes=1))
    confirmed = AccessRequest.objects.get(event="confirmed")
    approved = AccessRequest.objects.get(event="approved")
    assert confirmed.removal_lag is not None
    assert (found.grants, found.removals.due, found.denied) == (1, 1, 1)
    assert found.removals.worst == pytest.approx(confirmed.removal_lag.total_seconds())
    took = (approved.occurred_at - approved.submitted_at).total_seconds()
    assert found.median_to_approve == pytest.approx(took)
    assert (found.pending, found.overdue, found.stuck) == (1, 1, 0)
    assert waiting.state == "pending"


def test_a_removal_that_hangs_is_counted_as_stuck(world: World) -> None:
    request = world.active(minutes=1)
    assert request.ends_at is not None
    grants.end_due(now=request.ends_at)
    for seconds, stuck in ((59, 0), (61, 1)):
        later = request.ends_at + timedelta(seconds=seconds)
        found = figures.compute(filters(), now=later, stuck_after=timedelta(minutes=1))
        assert found.stuck == stuck


def test_the_share_is_never_rounded_up() -> None:
    removals = Measured(
        due=20_003, held=7, open=3, judged=20_001, quick=20_000, open_from=None, median=0.1,
        p95=0.2, p99=0.3, worst=4.1,
    )  # fmt: skip
    some = figures.Figures(
        grants=10_000, grants_before=8_000, removals=removals, median_to_approve=None,
        p95_to_approve=None, lapsed=0, failed=0, escalated=0, escalated_often=0, denied=0,
        pending=0, overdue=0, stuck=0,
    )  # fmt: skip
    assert some.removals.share_within_a_second == "99.99 %"
    assert some.trend == "+25 % on the period before"


def test_each_removal_is_in_one_band_of_lag(world: World) -> None:
    request = world.ended(minutes=1)
    found = figures.lags(filters(last=timezone.localdate() + timedelta(days=1)))
    assert [band.title for band in found] == [*figures.LAG_BANDS, figures.NOT_GONE]
    assert sum(band.count for band in found) == 1
    assert request.removal_lag is not None
    seconds = request.removal_lag.total_seconds()
    band = next(title for title, most in figures.LAG_BANDS.items() if seconds <= most)
    assert [each.title for each in found if each.count] == [band]
    assert [each.percent for each in found if each.count] == [100.0]


def test_bars_cover_every_week_and_add_up(world: World) -> None:
    world.active()
    today = timezone.localdate()
    chart = figures.chart(filters(first=today - timedelta(days=89)))
    assert len(chart.bars) in (13, 14)
    assert sum(bar.count for bar in chart.bars) == 1
    assert chart.bars[-1].count == chart.most == 1
    assert all(bar.first.weekday() == 0 for bar in chart.bars)
    assert all(bar.x >= 0 and bar.x + bar.width <= chart.width for bar in chart.bars)
    long = figures.chart(filters(first=today - timedelta(days=1000)))
    assert long.unit == "month"
    assert all(bar.first.day == 1 for bar in long.bars)


def test_a_cursor_of_nothing_gives_nothing(world: World) -> None:
    world.active()
    long_ago = Cursor(datetime(2001, 1, 1, tzinfo=UTC), uuid.uuid4())
    for report in registry.REPORTS:
        assert report.page(filters(), after=long_ago, limit=5) == []
