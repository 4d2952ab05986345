"""Child of the crowd bench: a portal process in which an approver works through a long inbox."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import django

django.setup()

from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.urls import reverse  # noqa: E402

from approvals.models import User  # noqa: E402
from approvals.selectors import requests  # noqa: E402
from tests.bench import company, connector, crowd, ground  # noqa: E402

_people: dict[str, tuple[User, Client]] = {}
#: A person of whom only a few of the requests are.
SOMEBODY = "P150"


def _person(login: str) -> tuple[User, Client]:
    if login not in _people:
        person = User.objects.get(username=login)
        client = Client(headers={"host": "127.0.0.1"})
        client.force_login(person)
        _people[login] = person, client
    return _people[login]


def _timed(call: Callable[[], Any], *, wanted: int) -> dict[str, Any]:
    begun = time.perf_counter()
    response = call()
    seconds = time.perf_counter() - begun
    if response.status_code != wanted:
        raise RuntimeError(f"answered {response.status_code}, not {wanted}")
    return {"seconds": seconds}


def inbox(login: str) -> dict[str, Any]:
    """Open the inbox once; return the seconds that it took."""
    _, client = _person(login)
    return _timed(lambda: client.get(reverse("inbox")), wanted=200)


def narrow(login: str) -> dict[str, Any]:
    """Open the inbox narrowed to somebody; return the seconds that it took."""
    _, client = _person(login)
    return _timed(lambda: client.get(reverse("inbox"), {"who": SOMEBODY}), wanted=200)


def queries(login: str) -> dict[str, Any]:
    """Return how many statements the inbox sends."""
    _, client = _person(login)
    client.get(reverse("inbox"))
    with CaptureQueriesContext(connection) as context:
        client.get(reverse("inbox"))
    return {"queries": len(context)}


def decide(login: str) -> dict[str, Any]:
    """Approve the most urgent request as the page does; return the seconds, the next page's too."""
    person, client = _person(login)
    record = requests.inbox(person=person, limit=1)[0].record
    values = {"verdict": "approve", "seen_revision": record.revision, "comment": ""}
    where = reverse("request_decide", args=[record.request_id])
    return _timed(lambda: client.post(where, values, headers={"HX-Request": "true"}), wanted=200)


def bulk(login: str) -> dict[str, Any]:
    """Approve the fifty most urgent together; return the seconds that it took."""
    person, client = _person(login)
    items = requests.inbox(person=person, limit=crowd.TOGETHER)
    picks = [f"{item.record.request_id}~{item.record.revision}" for item in items]
    if len(picks) != crowd.TOGETHER:
        raise RuntimeError(f"only {len(picks)} are left")
    where, values = reverse("inbox_bulk"), {"verdict": "approve", "pick": picks}
    return _timed(lambda: client.post(where, values, follow=True), wanted=200)


if __name__ == "__main__":
    connector.install()
    ground.answer(
        {
            "build": company.build, "inbox": inbox, "filter": narrow, "queries": queries,
            "decide": decide, "bulk": bulk,
        }
    )  # fmt: skip
