"""One thread renews what all workers of a process hold, whatever befalls it."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from approvals.models import OutboxItem
from approvals.outbox import holding, queue
from tests.connectors.moments import now

LEASE = timedelta(seconds=0.3)


def until(true: Callable[[], bool]) -> bool:
    ends = time.monotonic() + 10
    while time.monotonic() < ends and not true():
        time.sleep(0.02)
    return true()


@pytest.fixture
def renewed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The items' numbers as they are renewed; the first time it fails, and so does giving back."""
    settings.OUTBOX_LEASE = LEASE
    seen: list[int] = []

    def renew(items: Sequence[OutboxItem], **_: Any) -> None:
        seen.extend(item.pk for item in items)
        if len(seen) == 1:
            raise OSError("the database is away")

    def close() -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(queue, "renew", renew)
    monkeypatch.setattr(holding, "connection", type("Gone", (), {"close": staticmethod(close)}))
    return seen


def test_two_batches_are_held_side_by_side_and_let_go_one_by_one(renewed: list[int]) -> None:
    with holding.held([OutboxItem(pk=1)], tell=now):
        with holding.held([OutboxItem(pk=2)], tell=now):
            assert until(lambda: renewed.count(1) >= 3 and renewed.count(2) >= 3)
        time.sleep(0.1)
        often = renewed.count(2)
        assert until(lambda: renewed.count(1) >= 6)
        assert renewed.count(2) == often


def test_what_hangs_for_ever_is_let_go(renewed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "LEASES_MOST", 1)
    with holding.held([OutboxItem(pk=3)], tell=now):
        assert until(lambda: not holding._keeper._batches)
    assert renewed == [3] * holding.PER_LEASE
