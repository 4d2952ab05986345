"""Beat looks at every entry, leads alone, and asks the database what is due."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from approvals.selectors import due
from jitportal import schedule
from tests.world import World


def beat(monkeypatch: pytest.MonkeyPatch, sent: list[str]) -> schedule.LeadingScheduler:
    app = Celery("x", set_as_current=False)
    app.conf.beat_schedule = schedule.entries()
    found = schedule.LeadingScheduler(app=app)
    found.__dict__["producer"] = None  # there is no broker to connect to
    monkeypatch.setattr(found, "_lead", lambda: True)
    monkeypatch.setattr(found, "apply_entry", lambda entry, producer=None: sent.append(entry.task))
    return found


def test_each_kind_of_due_work_is_sent_though_the_other_is_not_due(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    found = beat(monkeypatch, sent)
    found.tick()
    assert sorted(sent) == ["work.due", "work.ends"], "once at the start, so that a stop shows"
    moments: dict[str, Any] = {"end": None, "level": None}
    for name, entry in (("end", "ends"), ("level", "due")):
        moment = datetime.now(UTC) - timedelta(seconds=1)
        for other in ("ends", "due"):
            looked = found.schedule[other].schedule
            looked._sent -= 1
            looked._next_moment = (lambda moment=moment: moment) if other == entry else lambda: None
        sent.clear()
        found.tick()
        assert sent == [f"work.{entry}"], (name, moments)


def test_the_pause_ends_when_the_next_access_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = beat(monkeypatch, [])
    found.tick()
    assert found.tick() == schedule.LOOK_SECONDS
    from approvals.selectors import clock

    soon = clock.now() + timedelta(seconds=0.2)
    found.schedule["ends"].schedule._next_moment = lambda: soon
    assert 0 < found.tick() <= 0.2


def test_nothing_is_due_in_an_empty_portal(db: None) -> None:
    assert due.next_end() is None
    assert due.next_moment() is None
