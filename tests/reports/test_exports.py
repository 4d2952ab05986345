"""Report downloads: recorded before they leave, with what they were about."""

import csv
import io
import threading
import tracemalloc
from datetime import UTC, date
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client
from django.urls import reverse

from approvals.models import ReportExport
from approvals.reports import files, frame, registry
from approvals.reports.frame import Filters
from approvals.selectors import clock
from approvals.services import exports
from audit.domain import entries
from audit.models import Checkpoint, Entry
from tests.audit.sealer import new_signer, seal
from tests.world import World

NAME = "who-had-access"
real = pytest.mark.django_db(transaction=True)


def _get(client: Client, world: World, **query: str) -> Any:
    client.force_login(world.dora)
    return client.get(reverse("report_csv", args=[NAME]), query)


def _rows(response: Any) -> list[list[str]]:
    text = b"".join(response).decode()
    return list(csv.reader(io.StringIO(text, newline="")))[1:]


def test_a_download_is_recorded_with_its_query_and_rows(client: Client, world: World) -> None:
    world.ended(minutes=1)
    world.ended(minutes=2)
    response = _get(client, world, person="alice", resource="orders-db")
    row = ReportExport.objects.get()
    assert (row.actor_id, row.actor_name) == (world.dora.pk, "Dora")
    assert (row.report, row.title, row.format) == (NAME, "Who had access", "csv")
    assert row.query["person"] == "alice"
    assert row.query["resource"] == "orders-db"
    assert {"from", "to", "timezone"} <= row.query.keys()
    assert row.rows == len(_rows(response)) == int(response["X-Report-Rows"]) == 2
    assert (row.checkpoint_size, row.checkpoint, response["X-Ledger-Checkpoint"]) == (None, "", "")
    assert response["X-Report-Download"] == str(row.uid)
    assert f"_2-rows_checkpoint-0_{row.uid}.csv" in response["Content-Disposition"]
    said = entries.read(bytes(Entry.objects.get(model="report_export").data))
    assert (said.id, said.op, said.actor) == (str(row.uid), "exported", str(world.dora.uid))
    assert {"query", "rows", "title", "report"} <= said.fields.keys()


@real
def test_it_carries_the_newest_checkpoint(client: Client, world: World) -> None:
    world.ended(minutes=1)
    made = seal(new_signer())
    response = _get(client, world)
    row = ReportExport.objects.get()
    newest = Checkpoint.objects.get(log=made)
    assert row.checkpoint == f"{made.origin} {newest.size} {bytes(newest.root).hex()}"
    assert response["X-Ledger-Checkpoint"] == row.checkpoint
    assert f"_checkpoint-{newest.size}_" in response["Content-Disposition"]
    response.close()


@real
def test_it_is_committed_before_the_first_byte_leaves(client: Client, world: World) -> None:
    world.ended(minutes=1)
    response = _get(client, world)  # nothing of the body is read yet
    assert not connection.in_atomic_block
    found: list[int] = []

    def look_elsewhere() -> None:
        try:
            found.append(ReportExport.objects.filter(rows=1).count())
        finally:
            connections.close_all()

    thread = threading.Thread(target=look_elsewhere)
    thread.start()
    thread.join()
    assert found == [1]
    assert len(_rows(response)) == 1


@real
def test_a_download_that_is_broken_off_leaves_its_record_and_no_cursor(
    client: Client, world: World
) -> None:
    for number in range(3):
        world.ended(minutes=1 + number)
    response = _get(client, world)
    next(iter(response))
    response.close()
    assert ReportExport.objects.count() == 1
    assert _cursors() == 0
    _get(client, world).close()  # and one that was never begun
    assert _cursors() == 0


def _cursors() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_cursors WHERE is_holdable")
        return int(cursor.fetchone()[0])


@real
def test_without_its_record_nothing_leaves(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ended(minutes=1)

    def fail(**_: Any) -> None:
        raise RuntimeError("the database is full")

    monkeypatch.setattr(exports, "record", fail)
    client.raise_request_exception = False
    response = _get(client, world)
    assert response.status_code == 500
    assert _cursors() == 0
    assert ReportExport.objects.count() == 0


def test_looking_is_no_download(client: Client, world: World) -> None:
    world.ended(minutes=1)
    client.force_login(world.dora)
    url = reverse("report_csv", args=[NAME])
    assert client.get(url, {"metadata": "1"}).status_code == 200
    assert client.head(url).status_code == 200
    assert client.get(url, {"person": "nobody-at-all"}).status_code == 400
    client.force_login(world.alice)
    assert client.get(url).status_code == 403
    assert ReportExport.objects.count() == 0
    client.force_login(world.dora)
    page = client.get(reverse("report", args=[NAME])).content.decode()
    assert "Every download is recorded." in page


def test_a_long_report_needs_little_memory(world: World) -> None:
    """Fifty thousand rows pass through in chunks, from a cursor that outlives its transaction."""
    sql = "SELECT repeat('x', 200), n FROM generate_series(1, 50000) n"
    tracemalloc.start()
    with frame.snapshot():
        rows = frame.stream(sql, {})
        next(rows)
    count = 1 + sum(1 for _ in rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 50_000
    assert peak < 10_000_000


@pytest.mark.parametrize("report", registry.REPORTS, ids=lambda report: report.id)
def test_an_empty_report_is_a_header(world: World, report: frame.Report) -> None:
    now = clock.now()
    filters = Filters(date(2001, 1, 1), date(2001, 1, 1), UTC)
    file = files.csv(report, filters, actor=world.dora, query={}, now=now)
    assert "".join(file).count("\r\n") == 1
    assert file.export.rows == 0
    file.close()
