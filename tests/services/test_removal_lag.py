"""How late a removal was: for new use and for open sessions, apart where the target tells.

The request's page, the report and the metrics say the same of each.
"""

from datetime import UTC, timedelta
from typing import Any

import pytest

from approvals.models import AccessRequest
from approvals.portal import metrics as page
from approvals.reports import registry
from approvals.reports.frame import Filters
from approvals.selectors import metrics, timeline
from approvals.services import grants
from approvals.services.grants import Attempt
from tests.world import World

SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)


def removed(
    world: World,
    receipt: dict[str, Any],
    *,
    sessions_closed: int = 0,
    called_after: timedelta = 0.1 * SECOND,
) -> AccessRequest:
    """Access that ended by time; the target was called so late, and confirmed two seconds late."""
    request = world.active(minutes=1)
    due_at = request.ends_at
    assert due_at is not None
    grants.end_due(now=due_at)
    attempt = Attempt(
        1, due_at + called_after, due_at + 2 * SECOND, detail=receipt,
        sessions_closed=sessions_closed,
    )  # fmt: skip
    (confirmed,) = grants.confirm_many([(request.request_id, attempt)], now=due_at + 2 * SECOND)
    return confirmed


def told(request: AccessRequest) -> list[tuple[int | None, int | None]]:
    """(login lag, session lag) in milliseconds, as page, report and metrics tell them."""
    removal = timeline.load(request).removal
    assert removal is not None
    later = request.occurred_at + timedelta(minutes=1)
    chosen = Filters(first=later.date() - timedelta(days=1), last=later.date(), zone=UTC, at=later)
    report = registry.report("removal-timeliness")
    (row,) = report.rows(chosen, None, None)
    cells = dict(zip([column.key for column in report.columns], row.cells, strict=True))
    spreads = metrics.lags_apart(now=later)
    return [
        (_milliseconds(removal.login_lag), _milliseconds(removal.session_lag)),
        (cells["login_lag_ms"], cells["session_lag_ms"]),
        tuple(round(each.sum * 1000) if each.count else None for each in spreads),
    ]


def _milliseconds(lag: timedelta | None) -> int | None:
    return None if lag is None else round(lag / MILLISECOND)


@pytest.mark.parametrize(
    ("receipt", "closed", "expected"),
    [
        ({"refused_after_ms": 30}, 0, (130, 2000)),
        ({"refused_after_ms": 30}, 1, (130, 2000)),
        ({"refused_at_end": True, "refused_after_ms": 30}, 1, (0, 2000)),
        ({"refused_at_end": True}, 0, (0, None)),
        ({"refused_after_ms": 30, "sessions_live_on": True}, 0, (130, None)),
        ({}, 2, (None, 2000)),
        ({}, 0, (None, None)),
        ({"refused_after_ms": "soon", "refused_at_end": "no"}, 0, (None, None)),
        ({"kept": True, "covered_by": "REQ-X"}, 0, (None, None)),
    ],
)
def test_page_report_and_metrics_tell_the_same_two_lags(
    world: World, receipt: dict[str, Any], closed: int, expected: tuple[int | None, int | None]
) -> None:
    assert told(removed(world, receipt, sessions_closed=closed)) == [expected] * 3


def test_the_page_has_them_in_words(world: World) -> None:
    removal = timeline.load(removed(world, {"refused_after_ms": 30}, sessions_closed=1)).removal
    assert removal is not None
    assert (removal.login_lag_words, removal.session_lag_words) == ("130 ms", "2.0 s")
    assert removal.lag_words == "2.0 s"


def test_a_clock_that_runs_ahead_makes_no_negative_lag(world: World) -> None:
    request = removed(world, {"refused_after_ms": 5}, called_after=-SECOND)
    assert {login for login, _ in told(request)} == {0}


def test_what_is_not_confirmed_has_neither(world: World) -> None:
    request = world.active(minutes=1)
    assert request.ends_at is not None
    grants.end_due(now=request.ends_at)
    removal = timeline.load(world.newest(request)).removal
    assert removal is not None
    assert (removal.login_lag, removal.session_lag) == (None, None)


def test_monitoring_has_a_histogram_of_each(world: World) -> None:
    request = removed(world, {"refused_after_ms": 30}, sessions_closed=1)
    families = {family.name: family for family in page._families(request.occurred_at + SECOND)}
    for name, seconds in (("login", 0.13), ("session", 2.0)):
        family = families[f"jitportal_{name}_lag_seconds"]
        values = {(suffix, labels.get("le")): value for suffix, labels, value in family.samples}
        assert values["_count", None] == 1
        assert values["_sum", None] == pytest.approx(seconds, abs=1e-3)
        assert values["_bucket", "0.1"] == 0
        assert values["_bucket", "2.5"] == 1
