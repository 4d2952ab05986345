"""Beat looks at every entry, leads alone, and asks the database what is due."""

from datetime import UTC, datetime, timedelta
from functools import partial

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


def when(found: schedule.LeadingScheduler, name: str) -> schedule.WhenDue:
    entry = found.schedule[name].schedule
    assert isinstance(entry, schedule.WhenDue)
    return entry


def test_each_kind_of_due_work_is_sent_though_the_other_is_not_due(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    found = beat(monkeypatch, sent)
    found.tick()
    assert sorted(sent) == ["work.due", "work.ends"], "once at the start, so that a stop shows"
    past = datetime.now(UTC) - timedelta(seconds=1)
    for due_one in ("ends", "due"):
        for name in ("ends", "due"):
            looked = when(found, name)
            looked._sent -= 1
            looked._next_moment = partial(_answer, past if name == due_one else None)
        sent.clear()
        found.tick()
        assert sent == [f"work.{due_one}"]


def _answer(moment: datetime | None) -> datetime | None:
    return moment


def test_the_pause_ends_when_the_next_access_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = beat(monkeypatch, [])
    found.tick()
    assert found.tick() == schedule.LOOK_SECONDS
    from approvals.selectors import clock

    soon = clock.now() + timedelta(seconds=0.2)
    when(found, "ends")._next_moment = lambda: soon
    assert 0 < found.tick() <= 0.2


def test_nothing_is_due_in_an_empty_portal(db: None) -> None:
    assert due.next_end() is None
    assert due.next_moment() is None
