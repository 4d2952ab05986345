"""Handing over on the pages: the inbox's pane, the request's page, and what is said afterwards."""

import html
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from approvals.models import AccessRequest, RequestHandover, User
from approvals.selectors import chains, clock
from approvals.services import passing, requests
from tests.world import World

HTMX = {"HX-Request": "true"}
XSS = "<script>alert(1)</script>"


def told(response: Any) -> str:
    return html.unescape(response.content.decode())


def inbox(client: Client, who: User, request: AccessRequest) -> str:
    client.force_login(who)
    response = client.get(reverse("inbox"), {"request": str(request.request_id)})
    assert response.status_code == 200
    return told(response)


def page(client: Client, who: User, request: AccessRequest) -> str:
    client.force_login(who)
    response = client.get(reverse("request", args=[request.request_id]))
    assert response.status_code == 200
    return told(response)


def send(
    client: Client, who: User, request: AccessRequest, name: str = "inbox_hand_over", **data: Any
) -> Any:
    client.force_login(who)
    headers = data.pop("headers", {})
    values = {"to": "dora", "why": "In a meeting.", "seen_revision": request.revision} | data
    return client.post(reverse(name, args=[request.request_id]), values, headers=headers)


def pass_on(
    world: World, request: AccessRequest, who: User, to: User, why: str = "In a meeting."
) -> RequestHandover:
    return passing.hand_over(
        actor=who, request_id=request.request_id, to=to, comment=why,
        seen_revision=world.newest(request).revision, now=clock.now(),
    )  # fmt: skip


def test_handing_over_goes_on_to_the_next_request(client: Client, world: World) -> None:
    first, second = world.ask(), world.ask(by=world.dan, subject=world.dan)
    assert 'id="hand-over"' in inbox(client, world.bob, first)
    response = send(client, world.bob, first, to=f" {world.dora.email.upper()} ")
    assert response.status_code == 302
    text = told(client.get(response["Location"]))
    assert f"Handed over. {world.dora.name} is asked now and told why" in text
    assert first.reference not in text
    assert second.request_id != first.request_id


def test_htmx_gets_the_board_alone(client: Client, world: World) -> None:
    request = world.ask()
    response = send(client, world.bob, request, headers=HTMX)
    assert response.status_code == 200
    text = told(response)
    assert "<html" not in text
    assert f"Handed over. {world.dora.name} is asked now" in text


def test_the_taker_sees_by_whom_and_why_and_decides(client: Client, world: World) -> None:
    request = world.ask()
    pass_on(world, request, world.bob, world.dora, why=XSS)
    client.force_login(world.dora)
    raw = client.get(reverse("inbox")).content.decode()
    assert XSS not in raw
    text = html.unescape(raw)
    assert "Handed over" in text
    assert XSS in text
    assert 'id="approve"' in text
    assert 'id="approve"' not in inbox(client, world.bob, request)
    requests.decide(
        actor=world.dora, request_id=request.request_id, verdict="approve", seen_revision=1,
        comment="Fine with me.", now=clock.now(),
    )  # fmt: skip
    text = inbox(client, world.carol, request)
    assert f"approved for {world.bob.name}" in " ".join(text.split()).replace(
        '<span class="muted">', ""
    )
    client.force_login(world.dora)
    text = told(client.get(reverse("inbox_decided")))
    assert f"for {world.bob.name}" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"to": "nobody"}, "Nobody active has this login name"),
        ({"to": ""}, "Write who is to decide instead of you."),
        ({"to": "a\0b"}, "Nobody active has this login name"),
        ({"to": "alice"}, "asks for this access or gets it"),
        ({"to": "bob"}, "You have it already."),
        ({"why": " "}, "Say why you hand it over."),
        ({"why": "x" * 2_001}, "2,000 are the most"),
    ],
)
@pytest.mark.parametrize("name", ["inbox_hand_over", "request_hand_over"])
def test_a_refusal_keeps_what_was_typed(
    client: Client, world: World, name: str, change: dict[str, str], message: str
) -> None:
    request = world.ask()
    response = send(client, world.bob, request, name, **({"why": "Away, sorry."} | change))
    assert response.status_code == 400
    text = told(response)
    assert message in text
    assert 'id="hand-over" open' in text
    assert change.get("why", "Away, sorry.").strip() in text
    assert change.get("to", "dora").replace("\0", "") in text.replace("\ufffd", "")
    assert not RequestHandover.objects.exists()


def test_the_requests_page_hands_over_too(client: Client, world: World) -> None:
    request = world.ask()
    assert 'id="hand-over"' in page(client, world.bob, request)
    response = send(client, world.bob, request, "request_hand_over")
    assert response["Location"] == reverse("request", args=[request.request_id])
    text = told(client.get(response["Location"]))
    assert f"by {world.bob.name} to {world.dora.name}" in text
    assert 'id="hand-over"' not in text


def test_who_may_not_see_it_gets_nothing(client: Client, world: World) -> None:
    request = world.ask()
    for name in ("inbox_hand_over", "request_hand_over"):
        assert send(client, world.mallory, request, name).status_code == 404
    response = send(client, world.alice, request, "request_hand_over")
    assert response.status_code == 403
    assert "hand-over" not in page(client, world.alice, request)


def test_what_changed_meanwhile_is_shown(client: Client, world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request, "deny")
    response = send(client, world.bob, request)
    assert response.status_code == 409
    assert "You have voted: you denied it" in told(response)


@pytest.mark.parametrize("seen", ["", "x", "9" * 10])
def test_a_page_that_says_not_what_was_seen_is_refused(
    client: Client, world: World, seen: str
) -> None:
    request = world.ask()
    for name in ("inbox_hand_over", "request_hand_over"):
        response = send(client, world.bob, request, name, seen_revision=seen)
        assert 400 <= response.status_code < 500
    assert not RequestHandover.objects.exists()


def test_the_keys_list_names_it(client: Client, world: World) -> None:
    assert "<kbd>o</kbd></dt><dd>hand over" in inbox(client, world.bob, world.ask())


def test_pages_take_at_most_twelve_queries(client: Client, world: World) -> None:
    request = world.ask()
    pass_on(world, request, world.bob, world.dora)
    pass_on(world, request, world.dora, world.mallory)
    addresses = [reverse("inbox"), reverse("request", args=[request.request_id])]
    client.force_login(world.mallory)
    for address in addresses:
        chains._pinned.cache_clear()
        with CaptureQueriesContext(connection) as seen:
            assert client.get(address).status_code == 200
        assert len(seen) <= 12, f"{address}\n" + "\n".join(q["sql"][:120] for q in seen)


def suggested(client: Client, who: User, request: AccessRequest, text: str) -> list[str]:
    client.force_login(who)
    response = client.get(reverse("request_takers", args=[request.request_id]), {"to": text})
    assert response.status_code == 200
    return re.findall(r'value="(\w+)"', response.content.decode())


def test_who_might_take_it_is_suggested_as_one_types(client: Client, world: World) -> None:
    request = world.ask()
    assert suggested(client, world.bob, request, "dor") == ["dora"]
    assert suggested(client, world.bob, request, world.dora.email[:6].upper()) == ["dora"]
    everybody = suggested(client, world.bob, request, "a")
    assert {"carol", "dora"} <= set(everybody)
    assert not {"alice", "bob"} & set(everybody)
    User.objects.filter(pk=world.dora.pk).update(is_active=False)
    assert suggested(client, world.bob, request, "dor") == []
    assert (
        suggested(client, world.bob, request, "")
        == suggested(client, world.bob, request, "\0")
        == []
    )


def test_only_who_may_decide_now_learns_names(client: Client, world: World) -> None:
    request = world.ask()
    assert suggested(client, world.alice, request, "dor") == []
    client.force_login(world.mallory)
    assert client.get(reverse("request_takers", args=[request.request_id])).status_code == 404
    world.decide(world.bob, request, "deny")
    assert suggested(client, world.bob, request, "dor") == []


def test_who_handed_over_reads_on_though_no_notice_ever_came(client: Client, world: World) -> None:
    request = world.ask()
    pass_on(world, request, world.bob, world.dan)
    pass_on(world, request, world.dan, world.erin)
    for person in (world.bob, world.dan):
        assert "In a meeting." in page(client, person, request)
    client.force_login(world.mallory)
    assert client.get(reverse("request", args=[request.request_id])).status_code == 404
