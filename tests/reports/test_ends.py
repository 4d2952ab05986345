"""Ends of access: what was kept for another grant, what is stuck, and what was repaired later."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from approvals import handlers
from approvals.models import AccessRequest
from approvals.reports import figures, registry, sampling, trails
from approvals.reports.frame import Filters
from approvals.selectors import clock, metrics
from approvals.services import grants
from tests.connectors.noop import Noop
from tests.world import World

MINUTE = timedelta(minutes=1)
Later = Callable[[timedelta], None]


def filters(**more: Any) -> Filters:
    today = clock.now().date()
    values: dict[str, Any] = {
        "first": today - timedelta(days=1), "last": today + timedelta(days=1), "zone": UTC,
    }  # fmt: skip
    return Filters(**(values | more))


def rows(name: str, chosen: Filters) -> dict[str, dict[str, Any]]:
    report = registry.report(name)
    found = list(report.rows(chosen, None, None))
    assert report.count(chosen) == len(found)
    keys = [column.key for column in report.columns]
    made = [dict(zip(keys, row.cells, strict=True)) for row in found]
    return {row["request"]: row for row in made}


def told(name: str, chosen: Filters) -> dict[str, str]:
    return dict(registry.report(name).figures(chosen))


def end(world: World, request: AccessRequest, *, late: timedelta = timedelta(0)) -> datetime:
    """End a grant, and have it confirmed, so late; return when it was due."""
    ends_at = world.newest(request).ends_at
    assert ends_at is not None
    grants.end_due(now=ends_at + late)
    handlers.work("provisioning", now=ends_at + late)
    return ends_at


@pytest.fixture
def extended(world: World, noop: Noop) -> tuple[AccessRequest, AccessRequest, datetime]:
    """A grant, what extended it, and the boundary at which that one took over."""
    first = world.ask(what=world.read, minutes=5)
    handlers.work("provisioning")
    second = world.ask(what=world.read, minutes=10, extends=first.request_id)
    boundary = end(world, first)
    assert noop.held() == {("alice", "read")}, "alice still has it"
    return first, second, boundary


def test_what_an_extension_holds_is_no_termination_to_sample(
    world: World, extended: tuple[AccessRequest, AccessRequest, datetime]
) -> None:
    _, second, _ = extended
    assert sampling.draw("terminations", filters(), seed="s", size=9).population == 0
    end(world, second)
    drawn = sampling.draw("terminations", filters(), seed="s", size=9)
    assert drawn.drawn == (second.request_id,)


def test_access_that_an_extension_holds_is_not_gone(
    world: World, extended: tuple[AccessRequest, AccessRequest, datetime]
) -> None:
    first, second, boundary = extended
    chosen = filters(at=boundary + MINUTE)
    timely = rows("removal-timeliness", chosen)[first.reference]
    assert (timely["confirmed_at"], timely["lag_ms"], timely["attempts"]) == (None, None, 0)
    assert (timely["held_by"], timely["state"]) == (second.reference, "expired")
    had = rows("who-had-access", chosen)
    assert had.keys() == {first.reference, second.reference}
    kept = had[first.reference]
    assert (kept["removal_confirmed_at"], kept["removal_lag_ms"]) == (None, None)
    assert kept["held_by"] == second.reference
    assert had[second.reference]["held_by"] == ""
    before = rows("active-as-of", filters(at=boundary - timedelta(seconds=1)))
    assert before.keys() == {first.reference}
    assert (before[first.reference]["gone_at"], before[first.reference]["held_by"]) == (
        None, second.reference,
    )  # fmt: skip
    assert rows("active-as-of", filters(at=boundary + MINUTE)).keys() == {second.reference}


def test_nothing_that_was_kept_counts_as_a_quick_removal(
    world: World, extended: tuple[AccessRequest, AccessRequest, datetime]
) -> None:
    first, second, boundary = extended
    nothing = told("removal-timeliness", filters(at=boundary + MINUTE))
    assert (nothing["Due"], nothing["Held by another grant"]) == ("0", "1")
    assert {nothing["Within 1 s"], nothing["Median lag"], nothing["Worst"]} == {"–"}
    due_at = end(world, second, late=timedelta(seconds=3))
    chosen = filters(at=due_at + MINUTE)
    found = told("removal-timeliness", chosen)
    assert (found["Due"], found["Within 1 s"]) == ("1", "0 %")
    assert (found["Median lag"], found["Worst"]) == ("3 s", "3 s")
    board = figures.compute(chosen, now=chosen.moment, stuck_after=MINUTE)
    assert (board.removals.due, board.removals.held, board.removals.quick) == (1, 1, 0)
    assert {band.title: band.count for band in figures.lags(chosen) if band.count} == {"≤ 10 s": 1}
    gone = rows("removal-timeliness", chosen)[second.reference]
    assert (gone["attempts"], gone["lag_ms"], gone["held_by"]) == (1, 3000, "")
    assert rows("removal-timeliness", chosen)[first.reference]["lag_ms"] is None


def test_monitoring_has_no_lag_of_what_was_kept(
    extended: tuple[AccessRequest, AccessRequest, datetime],
) -> None:
    spread, _ = metrics.last_hour(now=extended[2] + MINUTE)
    assert spread.count == 0


def test_the_trail_says_that_the_target_kept_it(
    extended: tuple[AccessRequest, AccessRequest, datetime],
) -> None:
    first, second, _ = extended
    text = trails.as_text(trails.load(first.request_id), zone=UTC)
    assert f"{second.reference} holds the same access, so the target keeps it" in text
    assert "· removed" not in text
    assert "confirmed the removal" not in text


def test_what_is_stuck_is_no_quick_removal(world: World, noop: Noop) -> None:
    """One that went at once beside one that does not go: half of them, and no 100 %."""
    gone = world.active(minutes=1)
    end(world, gone)
    stuck = world.active(what=world.write, by=world.alice, minutes=2)
    noop.control(fail="transient")
    due_at = end(world, stuck)
    young = filters(at=due_at + timedelta(seconds=1))
    assert told("removal-timeliness", young)["Within 1 s"] == "100 %", "it has its second"
    old = filters(at=due_at + timedelta(hours=5, seconds=7))
    found = told("removal-timeliness", old)
    assert (found["Due"], found["Not confirmed"], found["Within 1 s"]) == ("2", "1", "50 %")
    assert found["Worst"] == "≥ 5 h, still there"
    assert not found["Median lag"].startswith("≥") or found["Median lag"] == found["Worst"]
    board = figures.compute(old, now=old.moment, stuck_after=MINUTE)
    assert board.removals.share_within_a_second == found["Within 1 s"]
    assert board.removals.worst_words == found["Worst"]
    assert board.stuck == 1
    bands = {band.title: band.count for band in figures.lags(old) if band.count}
    assert (sum(bands.values()), bands[figures.NOT_GONE]) == (2, 1)


def test_an_end_that_nobody_began_is_stuck_too(world: World) -> None:
    request = world.active(minutes=1)
    assert request.ends_at is not None
    later = filters(at=request.ends_at + timedelta(hours=1))
    board = figures.compute(later, now=later.moment, stuck_after=MINUTE)
    assert (board.stuck, board.removals.open, board.removals.quick) == (1, 1, 0)
    assert board.removals.worst_words == "≥ 1 h, still there"


def test_the_dashboard_counts_an_end_in_the_period_in_which_it_was_due(world: World) -> None:
    """Confirmed a day later, it is a removal of the day on which it had to go."""
    request = world.active(minutes=1)
    due_at = end(world, request, late=timedelta(days=1))
    on_time, confirmed = due_at.date(), (due_at + timedelta(days=1)).date()
    read_at = due_at + timedelta(days=3)
    for day, number in ((on_time, 1), (confirmed, 0)):
        chosen = filters(first=day, last=day, at=read_at)
        board = figures.compute(chosen, now=read_at, stuck_after=MINUTE)
        assert board.removals.due == number
        assert sum(band.count for band in figures.lags(chosen)) == number
        assert len(rows("removal-timeliness", chosen)) == number


def test_a_past_period_tells_what_failed_then_whatever_was_repaired_since(
    world: World, noop: Noop, later: Later
) -> None:
    """Three days stuck: the report of each of them has it, and none forgets it afterwards."""
    request = world.active(minutes=1)
    noop.control(fail="transient")
    due_at = end(world, request)
    day = due_at.replace(hour=0, minute=0, second=0, microsecond=0)
    midnights = [day + timedelta(days=number) for number in range(1, 5)]

    def of_day(number: int) -> dict[str, dict[str, Any]]:
        date = (midnights[number] - MINUTE).date()
        return rows("failed-removals", filters(first=date, last=date, at=midnights[number]))

    before = of_day(1)[request.reference]
    assert (before["resolution"], before["age_seconds"]) == (
        "still there", pytest.approx((midnights[1] - due_at).total_seconds(), abs=0.001),
    )  # fmt: skip
    noop.control(fail="")
    repaired_at = midnights[1] + timedelta(hours=1)
    later(repaired_at - clock.now())
    handlers.work("provisioning", now=clock.now())
    gone_at = world.newest(request).removal_confirmed_at
    assert gone_at is not None
    assert midnights[1] < repaired_at <= gone_at < midnights[2]
    after = of_day(1)[request.reference]
    assert (after["age_seconds"], after["failures"], after["last_error"]) == (
        before["age_seconds"], before["failures"], before["last_error"],
    )  # fmt: skip
    assert (after["resolution"], after["confirmed_at"]) == ("still there, later removed", gone_at)
    confirmed = of_day(2)[request.reference]  # the day on which it went, though it was due before
    assert (confirmed["resolution"], confirmed["age_seconds"]) == (
        "removed", pytest.approx((gone_at - due_at).total_seconds(), abs=0.001),
    )  # fmt: skip
    assert of_day(3) == {}


def test_the_page_refuses_what_has_not_happened_yet(client: Client, world: World) -> None:
    request = world.active()
    client.force_login(world.dora)
    today = clock.now().date()
    url = reverse("report", args=["active-as-of"])
    for at in ("2099-01-01T00:00", (clock.now() + MINUTE).isoformat()):
        response = client.get(url, {"at": at, "timezone": "UTC"})
        assert response.status_code == 400
        assert "That moment has not come yet" in response.content.decode()
        assert request.reference not in response.content.decode()
    assert client.get(url, {"at": clock.now().isoformat()}).status_code == 200
    future = {"from": str(today + timedelta(days=2)), "to": str(today + timedelta(days=9))}
    for name in ("report", "report_csv", "report_xlsx", "report_pdf"):
        response = client.get(reverse(name, args=["who-had-access"]), future)
        assert response.status_code == 400
        assert "That has not happened yet" in response.content.decode()


def test_a_period_that_goes_on_says_up_to_when_it_is_told(client: Client, world: World) -> None:
    request = world.active()
    client.force_login(world.dora)
    today = clock.now().date()
    query = {"from": str(today), "to": str(today + timedelta(days=30)), "timezone": "UTC"}
    page = client.get(reverse("report", args=["who-had-access"]), query).content.decode()
    assert request.reference in page
    assert "The period goes on." in page
    about = client.get(reverse("report_csv", args=["who-had-access"]), query | {"metadata": "1"})
    assert abs(datetime.fromisoformat(about.json()["until"]) - clock.now()) < MINUTE
    past = {"from": "2026-01-01", "to": "2026-01-31", "timezone": "UTC"}
    page = client.get(reverse("report", args=["who-had-access"]), past).content.decode()
    assert "The period goes on." not in page
