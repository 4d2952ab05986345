"""How late a removal was: for new use and for open sessions, apart where the target tells."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from approvals.models import AccessRequest, GrantEvent
from approvals.selectors import timeline

DUE = datetime(2026, 3, 1, 12, tzinfo=UTC)


def removal(receipt: dict[str, Any], *, called_after: float = 0.1) -> timeline.Removal:
    record = AccessRequest(
        removal_due_at=DUE,
        removal_started_at=DUE,
        removal_confirmed_at=DUE + timedelta(seconds=2),
        detail={"receipt": receipt, "sessions_closed": 1},
    )
    event = GrantEvent(
        kind=GrantEvent.Kind.REMOVED, started_at=DUE + timedelta(seconds=called_after)
    )
    found = timeline._removal(record, [event])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("receipt", "words"),
    [
        ({"refused_after_ms": 30}, "130 ms"),
        ({"refused_at_end": True, "refused_after_ms": 30}, "0 ms"),
        ({}, ""),
        ({"refused_after_ms": "soon"}, ""),
    ],
)
def test_new_use_is_refused_before_sessions_are_closed(receipt: dict[str, Any], words: str) -> None:
    found = removal(receipt)
    assert found.login_lag_words == words
    assert found.lag_words == "2.0 s"


def test_a_clock_that_runs_ahead_makes_no_negative_lag() -> None:
    assert removal({"refused_after_ms": 5}, called_after=-1).login_lag == timedelta(0)
