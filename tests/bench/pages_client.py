"""Child of the pages bench: a portal process that opens pages through Django's test client."""

from __future__ import annotations

import resource
import time
from datetime import date, timedelta
from typing import Any

import django

django.setup()

from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.urls import reverse  # noqa: E402

from approvals.models import CurrentRequest, Group, Membership, User  # noqa: E402
from tests.bench import company, connector, ground  # noqa: E402

_clients: dict[str, Client] = {}


def _client(login: str) -> Client:
    if login not in _clients:
        client = Client(headers={"host": "127.0.0.1"})
        client.force_login(User.objects.get(username=login))
        _clients[login] = client
    return _clients[login]


def address(page: str) -> str:
    """Return where a page is; of requests it is the asker's newest one that is active."""
    if page != "request":
        return reverse(page)
    newest = CurrentRequest.objects.filter(subject__username="asker", state="active")
    request_id = newest.order_by("-submitted_at").values_list("request_id", flat=True)[0]
    return reverse(page, args=[request_id])


def open_page(page: str, login: str) -> dict[str, Any]:
    """Open a page once; return the seconds that it took and the characters that it has."""
    client, where = _client(login), address(page)
    begun = time.perf_counter()
    response = client.get(where)
    seconds = time.perf_counter() - begun
    if response.status_code != 200:
        raise RuntimeError(f"{where} answers {response.status_code}")
    return {"seconds": seconds, "characters": len(response.content)}


def queries(page: str, login: str) -> list[dict[str, str]]:
    """Return the statements that a page sends, with the seconds of each."""
    client, where = _client(login), address(page)
    client.get(where)
    with CaptureQueriesContext(connection) as context:
        client.get(where)
    return list(context.captured_queries)


def auditor(login: str) -> dict[str, Any]:
    """Make somebody who may see the reports."""
    group = Group.objects.create(name="compliance", role=Group.Role.COMPLIANCE)
    person = User.objects.create_user(login, f"{login}@example.com", None)
    Membership.objects.create(person=person, group=group)
    return {}


def take(report: str, login: str) -> dict[str, Any]:
    """Take a report of three years as CSV through its page; return its rows, seconds, and memory.

    The memory is the most that this process has ever had, in MB.
    """
    today = date.today()
    begun = time.perf_counter()
    response = _client(login).get(
        reverse("report_csv", args=[report]),
        {"from": (today - timedelta(days=1095)).isoformat(), "to": today.isoformat()},
    )
    if response.status_code != 200:
        raise RuntimeError(f"{report} answers {response.status_code}")
    lines = size = 0
    for piece in response:
        lines += piece.count(b"\n")
        size += len(piece)
    return {
        "rows": lines - 1,
        "seconds": time.perf_counter() - begun,
        "bytes": size,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def count(login: str) -> dict[str, Any]:
    """Open the list of reports with their row counts; return the seconds that it took."""
    today = date.today()
    begun = time.perf_counter()
    response = _client(login).get(
        reverse("reports"),
        {
            "from": (today - timedelta(days=1095)).isoformat(), "to": today.isoformat(),
            "counts": "1",
        },
        headers={"HX-Request": "true"},
    )  # fmt: skip
    if response.status_code != 200:
        raise RuntimeError(f"the reports answer {response.status_code}")
    return {"seconds": time.perf_counter() - begun}


if __name__ == "__main__":
    connector.install()
    ground.answer(
        {
            "build": company.build, "open": open_page, "queries": queries,
            "auditor": auditor, "take": take, "count": count,
        }
    )  # fmt: skip
