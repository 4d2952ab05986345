"""Each report's numbers against a count of its own in SQL, on the demo's history of forty days.

The counts are written by hand from what the records mean, over revisions, decisions, attempts and
histories: never over the pointer's table, and with nothing that the reports are made of.
"""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import timezone as fixed
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from approvals.management.demo_world import plans
from approvals.management.demo_world.dating import dated
from approvals.models import Entitlement, Finding, User
from approvals.reports import figures, registry
from approvals.reports.frame import Filters
from approvals.selectors import clock
from approvals.selectors import requests as reads
from approvals.services import escalation, exports, grants, requests
from tests.demo import told
from tests.reports import counted_by_hand as hand

__all__ = ["told"]

DAY = timedelta(days=1)
RESOURCE = "orders-db"


@pytest.fixture(scope="module")
def history(told: str) -> str:
    """The demo's history, and what the demo has none of: findings, a mover, a download, an
    extension, a lapse, a failure, and an end that nobody began.
    """
    now = clock.now()
    alice, dora = (User.objects.get(username=who) for who in ("alice", "dora"))
    found = list(Entitlement.objects.filter(resource__name=RESOURCE).order_by("pk"))[:2]
    for days, kind, person, resolved, entitlement in (
        (30, "standing", alice, 12, found[0]), (20, "unmatched", None, None, found[1]),
        (2, "leftover", alice, None, found[1]),
    ):  # fmt: skip
        Finding.objects.create(
            resource=entitlement.resource, entitlement=entitlement, kind=kind, person=person,
            login=person.username if person else "deploy-bot", first_seen_at=now - days * DAY,
            last_seen_at=now, confirmed_at=now - days * DAY + timedelta(minutes=5),
            resolved_at=None if resolved is None else now - resolved * DAY,
            resolution="" if resolved is None else "by_itself",
        )  # fmt: skip
    liam: Any = User.objects.get(username="liam")
    liam.title, liam.manager = "Platform engineer", dora
    dated(liam, at=now - 15 * DAY, reason="Moved.", by=dora).save()
    exports.record(
        actor=dora, report="who-had-access", title="Who had access", query={}, rows=7,
        format="csv", now=now,
    )  # fmt: skip
    _add_ends(alice, now - 4 * DAY)
    return told


def _add_ends(alice: User, at: datetime) -> None:
    read, write = (Entitlement.objects.get(name=name) for name in ("read", "read-write"))
    hour, blink = timedelta(hours=1), timedelta(milliseconds=70)

    def ask(now: datetime, **more: Any) -> uuid.UUID:
        wanted: dict[str, Any] = {"entitlement": read, "reason": "Look at order 12."} | more
        return requests.submit(
            actor=alice, subject=alice, duration=hour, now=now, **wanted
        ).request_id

    def done(now: datetime) -> grants.Attempt:
        return grants.Attempt(1, now - blink, now)

    extended = ask(at)
    grants.activate(request_id=extended, attempt=done(at + blink), now=at + blink)
    following = ask(at + hour / 2, extends=extended)
    for which, late in ((extended, blink), (following, timedelta(seconds=7))):
        ends_at = reads.current(which).ends_at
        assert ends_at is not None
        grants.end_due(now=ends_at)
        if which == extended:
            assert grants.keep_covered([(extended, 1)], now=ends_at + late)
        else:
            grants.confirm_many([(which, done(ends_at + late))], now=ends_at + late)
    failing = ask(at + DAY)
    grants.fail(request_id=failing, reason="The role is gone.", now=at + DAY + hour)
    stuck = ask(at + 2 * DAY)
    grants.activate(request_id=stuck, attempt=done(at + 2 * DAY + blink), now=at + 2 * DAY + blink)
    for which, began in ((stuck, at + 2 * DAY), (failing, at + DAY)):
        for number in (1, 2):
            tried = began + number * 2 * hour
            grants.attempted(
                request_id=which, kind="remove_failed",
                attempt=replace(done(tried), number=number, error="no route to host"),
            )  # fmt: skip
    silent = ask(at - 9 * DAY, entitlement=write, reason="Reprocess stuck refunds.", ticket="X-1")
    escalation.advance(silent, now=at)
    assert reads.current(silent).state == "lapsed"


def value(sql: str, chosen: Filters) -> Any:
    """Return the one value of a query; its parameters are made here, not by the reports."""
    start = datetime(chosen.first.year, chosen.first.month, chosen.first.day, tzinfo=chosen.zone)
    until = chosen.last + DAY
    end = datetime(until.year, until.month, until.day, tzinfo=chosen.zone)
    assert chosen.at is not None
    parameters = {
        "start": start, "end": min(end, chosen.at), "moment": chosen.at,
        "resource": chosen.resource_name or None, "person": chosen.person_id,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


def everything() -> Filters:
    now = clock.now()
    return Filters(now.date() - (plans.DAYS + 1) * DAY, now.date(), UTC, at=now)


def of_a_resource() -> Filters:
    pk = Entitlement.objects.filter(resource__name=RESOURCE).values_list("resource", flat=True)[0]
    return replace(everything(), resource_id=pk, resource_name=RESOURCE)


def of_a_person() -> Filters:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT subject_id FROM approvals_accessrequest WHERE revision = 1"
            " GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
        )
        person = User.objects.get(pk=cursor.fetchone()[0])
    return replace(everything(), person_id=person.pk, person_login=person.username)


def of_an_approver() -> Filters:
    bob = User.objects.get(username="bob")
    return replace(everything(), person_id=bob.pk, person_login=bob.username)


def in_another_zone() -> Filters:
    """A fortnight whose days begin half an hour beside every hour of UTC."""
    last = clock.now().date() - 10 * DAY
    zone = ZoneInfo("Asia/Kolkata")
    return at_its_end(Filters(last - 13 * DAY, last, zone))


def at_its_end(chosen: Filters) -> Filters:
    return replace(chosen, at=chosen.end)


def moment(sql: str) -> datetime:
    """Return the moment of an event in the middle of those that a query gives."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        rows = sorted(row[0] for row in cursor.fetchall())
    found: datetime = rows[len(rows) // 2]
    return found


def midnight_of(at: datetime) -> fixed:
    """Return a zone in which the moment is a midnight."""
    return fixed(-(at - at.replace(hour=0, minute=0, second=0, microsecond=0)))


def from_a_moment(sql: str) -> Filters:
    at = moment(sql)
    day = at.astimezone(midnight_of(at)).date()
    return at_its_end(Filters(day, day + 6 * DAY, midnight_of(at)))


def up_to_a_moment(sql: str) -> Filters:
    at = moment(sql)
    day = at.astimezone(midnight_of(at)).date()
    return at_its_end(Filters(day - 7 * DAY, day - DAY, midnight_of(at)))


ACTIVATED = "SELECT activated_at FROM approvals_accessrequest WHERE event = 'activated'"
DUE = "SELECT removal_due_at FROM approvals_accessrequest WHERE event = 'ended'"
GONE = "SELECT removal_confirmed_at FROM approvals_accessrequest WHERE event = 'confirmed'"
DECIDED = "SELECT occurred_at FROM approvals_decision"
CASES: dict[str, Callable[[], Filters]] = {
    "everything": everything,
    "a resource": of_a_resource,
    "a person": of_a_person,
    "an approver": of_an_approver,
    "another zone": in_another_zone,
    **{
        f"{bound} {name}": lambda make=make, sql=sql: make(sql)  # type: ignore[misc]
        for bound, make in (("from", from_a_moment), ("up to", up_to_a_moment))
        for name, sql in (
            ("an activation", ACTIVATED), ("an end", DUE), ("a removal", GONE),
            ("a decision", DECIDED),
        )
    },
}  # fmt: skip


def test_every_report_is_counted_by_hand() -> None:
    ids = {report.id for report in registry.REPORTS}
    assert hand.COUNTS.keys() == ids
    assert hand.FIGURES.keys() == ids


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", hand.COUNTS)
def test_a_report_has_as_many_rows_as_are_counted_by_hand(
    history: str, name: str, case: str
) -> None:
    report, chosen = registry.report(name), CASES[case]()
    expected = value(hand.COUNTS[name], chosen)
    assert report.count(chosen) == expected
    assert sum(1 for _ in report.rows(chosen, None, None)) == expected


@pytest.mark.parametrize("case", ["everything", "a resource", "a person", "another zone"])
@pytest.mark.parametrize("name", hand.FIGURES)
def test_a_figure_is_what_is_computed_by_hand(history: str, name: str, case: str) -> None:
    report, chosen = registry.report(name), CASES[case]()
    keys = [column.key for column in report.columns]
    rows = [dict(zip(keys, row.cells, strict=True)) for row in report.rows(chosen, None, None)]
    ours, sql = hand.FIGURES[name]
    found = ours(dict(report.figures(chosen)), rows)
    assert float(found) == pytest.approx(float(value(sql, chosen) or 0), abs=0.01)


@pytest.mark.parametrize("case", ["everything", "a resource", "another zone", "from an end"])
def test_the_dashboard_is_what_is_computed_by_hand(history: str, case: str) -> None:
    chosen = CASES[case]()
    assert chosen.at is not None
    found = figures.compute(chosen, now=chosen.at, stuck_after=timedelta(minutes=1))
    ours = vars(found) | vars(found.removals)
    for name, sql in hand.DASHBOARD.items():
        theirs = value(sql, chosen)
        if theirs is None or ours[name] is None:
            assert (ours[name], theirs) == (None, None), name
        else:
            assert float(ours[name]) == pytest.approx(float(theirs), abs=1e-6), name
    bands = {band.title: band.count for band in figures.lags(chosen)}
    assert sum(bands.values()) == value(hand.DASHBOARD["due"], chosen)
    for title, sql in hand.BANDS.items():
        assert bands[title] == value(sql, chosen), title


def test_the_history_has_something_of_everything(history: str) -> None:
    """Zero against zero would prove nothing."""
    chosen = everything()
    empty = {name for name, sql in hand.COUNTS.items() if not value(sql, chosen)}
    assert empty == {"ledger-integrity"}, "nothing is sealed inside a transaction"
    # Nobody decides late today, and escalations that follow each other are rare.
    nothing = {name for name, sql in hand.DASHBOARD.items() if not value(sql, chosen)}
    assert nothing <= {"overdue", "escalated_often", "grants_before"}
    assert value(hand.DASHBOARD["grants_before"], in_another_zone())
    assert {title for title, sql in hand.BANDS.items() if value(sql, chosen)} >= {
        "≤ 1 s", "≤ 10 s", "not confirmed",
    }  # fmt: skip
