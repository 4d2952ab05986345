"""The operators' page: who lives, what is wrong, what fails, and trying it again."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals import handlers
from approvals.models import AccessRequest, OutboxItem
from approvals.portal import operations
from approvals.selectors import clock, failing
from approvals.services import grants, process_watch
from tests.connectors.noop import Noop
from tests.services.alive import been_silent, began_long_ago, everything_lives
from tests.world import World


@pytest.fixture
def stuck(world: World, noop: Noop) -> AccessRequest:
    """A removal that the target refuses."""
    active = world.active()
    noop.control(fail="transient")
    grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    handlers.work("provisioning")
    return world.newest(active)


def text(client: Client, address: str = "/operations/") -> str:
    return re.sub(r"\s+", " ", client.get(address).content.decode())


def test_it_names_who_lives_and_who_was_never_seen(world: World, client: Client) -> None:
    everything_lives(but="notices")
    client.force_login(world.admin)
    page = text(client)
    assert page.count(">Running<") == 3
    assert page.count(">Never seen<") == 1
    assert "host-1:7" in page
    assert "Nothing fails." in page


def test_an_incident_says_what_it_means_and_what_to_do(world: World, client: Client) -> None:
    everything_lives()
    began_long_ago()
    been_silent("beat", for_=timedelta(minutes=5))
    now = clock.now()
    process_watch.look(since=now - timedelta(hours=1), now=now)
    client.force_login(world.dora)
    page = text(client)
    assert "Beat is silent" in page
    assert "systemctl status jitportal-beat" in page
    assert "Operators have not been mailed yet" in page
    everything_lives()
    process_watch.look(since=now - timedelta(hours=1), now=clock.now())
    page = text(client)
    assert "What to do" not in page
    assert "Incidents that are over" in page


def test_a_stuck_removal_is_shown_with_all_that_helps(
    world: World, client: Client, stuck: AccessRequest
) -> None:
    client.force_login(world.admin)
    page = text(client)
    for word in ("Removal", world.resource.name, world.carol.get_full_name(),
                 stuck.subject_name, "Try again", f"/requests/{stuck.request_id}/"):  # fmt: skip
        assert word in page
    assert OutboxItem.objects.get(topic="grant.withdraw").last_error[:20] in page


def test_an_operator_has_it_tried_again_and_compliance_may_not(
    world: World, client: Client, noop: Noop, stuck: AccessRequest
) -> None:
    item = OutboxItem.objects.get(topic="grant.withdraw")
    OutboxItem.objects.filter(pk=item.pk).update(not_before=clock.now() + timedelta(hours=1))
    client.force_login(world.dora)
    assert "Try again" not in text(client)
    assert client.post("/operations/retry/", {"item": item.pk}).status_code == 403
    client.force_login(world.admin)
    answer = client.post("/operations/retry/", {"item": item.pk, "target": "orders-db"})
    assert answer["Location"] == "/operations/?target=orders-db"
    assert OutboxItem.objects.get(pk=item.pk).not_before <= clock.now()
    noop.control()
    with_circuit = OutboxItem.objects.filter(pk=item.pk).first()
    assert with_circuit is not None
    handlers.work("provisioning", now=clock.now() + timedelta(hours=2))
    assert "Nothing fails." in text(client)
    for odd in ("", "x", "9" * 40, str(item.pk)):
        assert client.post("/operations/retry/", {"item": odd}).status_code == 302


def test_removals_come_first_and_pages_follow_on(
    world: World, client: Client, stuck: AccessRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now()
    for number in range(5):
        OutboxItem.objects.create(
            topic="notice.send", lane="notices", payload={"request_id": str(stuck.request_id)},
            not_before=now, attempts=number, first_failed_at=now - timedelta(days=number + 1),
            last_error=f"Mail {number} was refused.",
        )  # fmt: skip
    OutboxItem.objects.create(
        topic="ledger.mail", lane="notices", payload={"once_key": "x"}, not_before=now,
        first_failed_at=now, last_error="No.",
    )  # fmt: skip
    found = failing.rows(limit=100)
    assert found[0].is_removal
    assert [row.attempts for row in found[1:6]] == [4, 3, 2, 1, 0], "the longest failing first"
    pages = failing.rows(limit=3), failing.rows(limit=100, after=failing.rows(limit=3)[-1].place)
    assert [row.id for page in pages for row in page] == [row.id for row in found]
    assert len(failing.rows(target=world.resource.name, limit=100)) == 6
    assert failing.rows(target="nothing", limit=100) == []
    assert failing.targets() == [(world.resource.name, 6)]
    monkeypatch.setattr(operations, "ROWS", 3)
    client.force_login(world.admin)
    page = text(client)
    more = re.search(r'href="(\?after=[^"]+)">More', page)
    assert more is not None
    assert "Mail 0 was refused" in text(client, f"/operations/{more[1]}")
    assert client.get("/operations/?after=1~x~2").status_code == 400


def test_it_polls_and_answers_nothing_while_nothing_changed(world: World, client: Client) -> None:
    everything_lives()
    client.force_login(world.admin)
    page = text(client)
    again = re.search(r'hx-get="(/operations/[^"]+)"', page)
    assert again is not None
    address = again[1].replace("&amp;", "&")
    htmx = {"HX-Request": "true"}
    assert client.get(address, headers=htmx).status_code in (204, 200)  # 200 at a minute's turn
    been_silent("due", for_=timedelta(minutes=5))
    changed = client.get(address, headers=htmx)
    assert changed.status_code == 200
    assert b"<html" not in changed.content
    assert b"Silent" in changed.content


def test_its_queries_do_not_grow_with_what_fails(world: World, client: Client) -> None:
    client.force_login(world.admin)
    client.get("/operations/")
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(
            connection,
        ) as found:
            client.get("/operations/")
        counts.append(len(found))
        now = clock.now()
        OutboxItem.objects.bulk_create(
            OutboxItem(topic="notice.send", lane="notices", payload={}, not_before=now,
                       first_failed_at=now, last_error="No.") for _ in range(30)
        )  # fmt: skip
    assert counts[0] == counts[1] <= 20
