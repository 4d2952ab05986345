"""The inbox page: what waits, deciding, and every way in which a decision is refused."""

import html
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from approvals.models import AccessRequest, Decision, Group, Membership, User
from approvals.selectors import chains, clock
from approvals.services import escalation, requests
from tests.world import World

HTMX = {"HX-Request": "true"}


def page(client: Client, who: Any, **query: str) -> str:
    client.force_login(who)
    response = client.get(reverse("inbox"), query)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def post(client: Client, who: Any, request: AccessRequest, **data: Any) -> Any:
    client.force_login(who)
    headers = data.pop("headers", {})
    values = {"verdict": "approve", "seen_revision": request.revision, "comment": ""} | data
    return client.post(
        reverse("request_decide", args=[request.request_id]), values, headers=headers
    )


def told(response: Any) -> str:
    return html.unescape(response.content.decode())


def test_the_most_urgent_request_is_read_first(client: Client, world: World) -> None:
    now = clock.now()
    world.ask(now=now)
    late = world.ask(by=world.dan, subject=world.alice, what=world.own, ticket="X-1", now=now)
    early = world.ask(by=world.dan, now=now - timedelta(seconds=59))
    text = page(client, world.carol)
    assert text.index(early.reference) > text.index("dan".title())
    assert f'id="item-{early.request_id}"' in text
    assert text.index(f"item-{early.request_id}") < text.index(f"item-{late.request_id}")


def test_the_pane_says_what_an_approver_needs(client: Client, world: World) -> None:
    world.ended(minutes=5)
    world.write.description = "Change rows in every table."
    world.write.save()
    request = world.ask(ticket="INC-4411", reason="Reprocess refunds.")
    text = page(client, world.bob)
    for words in (
        "Alice", "reports to you", "30 m, as soon as approved", "INC-4411", "Reprocess refunds.",
        "1 grant of this role in 90 days", "Change rows in every table.", "Manager", "you",
        "Data owners", "any 1 of 2 · Carol, Dan", "escalates in", request.reference,
        'name="seen_revision" value="1"',
    ):  # fmt: skip
        assert words in text, words


def test_what_the_subject_holds_is_shown(client: Client, world: World) -> None:
    held = world.active()
    world.ask(what=world.own, ticket="X-1")
    assert held.ends_at is not None
    text = page(client, world.carol)
    assert "also holds" in text
    assert "orders-db · read-write" in text


def test_an_overdue_request_is_called_late(client: Client, world: World) -> None:
    world.ask(now=clock.now() - timedelta(seconds=90))
    text = page(client, world.bob)
    assert "1 is late" in text
    assert "30 s late" in text or "31 s late" in text or "32 s late" in text


def test_an_empty_inbox_says_so(client: Client, world: World) -> None:
    assert "Nothing waits for you." in page(client, world.mallory)


def test_the_inbox_takes_at_most_twelve_queries(client: Client, world: World) -> None:
    world.active()
    world.ask(what=world.own, ticket="X-1", by=world.alice)
    voted = world.ask(what=world.own, ticket="X-2", by=world.dan)
    Membership.objects.create(person=world.erin, group=Group.objects.get(name="data"))
    world.decide(world.erin, voted, comment="Fine.")
    client.force_login(world.carol)
    chains._pinned.cache_clear()
    with CaptureQueriesContext(connection) as seen:
        assert client.get(reverse("inbox")).status_code == 200
    assert len(seen) <= 12, "\n".join(query["sql"][:120] for query in seen)


def test_approving_goes_on_to_the_next_level_and_says_so(client: Client, world: World) -> None:
    request = world.ask()
    response = post(client, world.bob, request, comment="Fine.")
    assert response.status_code == 302
    assert response["Location"] == reverse("inbox")
    assert world.newest(request).level == 2
    text = html.unescape(client.get(response["Location"]).content.decode())
    assert "Approved. Level 2, Data owners, asks Carol, Dan now." in text


def test_the_last_approval_says_that_access_is_made(client: Client, world: World) -> None:
    request = world.ask()
    second = world.decide(world.bob, request)
    response = post(client, world.carol, second, headers=HTMX)
    assert response.status_code == 200
    assert "Approved. The access is being made; Alice is told when it works." in told(response)
    assert world.newest(request).state == "approved"


def test_denying_with_a_comment_denies(client: Client, world: World) -> None:
    request = world.ask()
    response = post(client, world.bob, request, verdict="deny", comment="Use the view.")
    assert response.status_code == 302
    newest = world.newest(request)
    assert (newest.state, newest.comment) == ("denied", "Use the view.")


def test_denying_without_a_comment_says_so_beside_the_field(client: Client, world: World) -> None:
    request = world.ask()
    response = post(client, world.bob, request, verdict="deny", comment="  ")
    assert response.status_code == 400
    assert 'id="comment-error"' in told(response)
    assert "Say why you deny it" in told(response)
    assert world.newest(request).state == "pending"


@pytest.mark.parametrize("comment", ["x" * 2_001, "a\0b"])
def test_a_comment_that_is_refused_is_kept(client: Client, world: World, comment: str) -> None:
    request = world.ask()
    response = post(client, world.bob, request, comment=comment)
    assert response.status_code == 400
    assert comment.replace("\0", "") in told(response).replace("\0", "")
    assert not Decision.objects.exists()


def test_htmx_gets_the_board_with_the_next_request(client: Client, world: World) -> None:
    first = world.ask()
    Membership.objects.create(person=world.mallory, group=Group.objects.get(name="eng"))
    third = world.ask(by=world.mallory)
    response = post(client, world.bob, first, headers=HTMX)
    text = told(response)
    assert text.lstrip().startswith('<div id="board"')
    assert "<html" not in text
    assert response["HX-Replace-Url"] == f"{reverse('inbox')}?request={third.request_id}"
    assert f"/requests/{third.request_id}/decide/" in text


def test_an_old_page_is_refused_and_shows_what_changed(client: Client, world: World) -> None:
    request = world.ask(what=world.own, ticket="X-1", by=world.alice)
    Membership.objects.create(person=world.bob, group=Group.objects.get(name="data"))
    world.decide(world.dan, request, comment="Looks right.")
    response = post(client, world.carol, request, comment="Mine.")
    text = told(response)
    assert response.status_code == 409
    assert "changed after you opened it" in text
    assert "Dan: Approved for Data owners (1 of 2)" in text
    assert "Looks right." in text
    assert 'name="seen_revision" value="2"' in text
    assert 'value="Mine."' in text
    assert Decision.objects.count() == 1


def test_a_settled_request_says_who_settled_it(client: Client, world: World) -> None:
    request = world.ask()
    second = world.decide(world.bob, request)
    world.decide(world.carol, second)
    response = post(client, world.dan, second)
    assert response.status_code == 409
    assert "Carol approved it at " in told(response)


def test_a_settled_request_shows_no_open_level_and_who_settled_it(
    client: Client, world: World
) -> None:
    cancelled = world.ask()
    requests.cancel(actor=world.alice, request_id=cancelled.request_id, now=clock.now())
    denied = world.ask()
    world.decide(world.bob, denied, "deny", comment="No.")
    lapsed = world.ask(now=clock.now() - timedelta(minutes=10))
    escalation.advance(lapsed.request_id, now=clock.now())
    approved = world.approved()
    for request, sentence in (
        (cancelled, "Alice cancelled it at "), (denied, "You have voted: you denied it at "),
        (lapsed, "nobody decided in time"), (approved, "Carol approved it at "),
    ):  # fmt: skip
        text = page(client, world.bob, request=str(request.request_id))
        assert sentence in text
        assert 'class="chain"' in text
        for live in ("open now", "escalates in", "lapses in", "No answer:", 'class="now"'):
            assert live not in text, (sentence, live)
        assert 'id="approve"' not in text
    own = page(client, world.alice, request=str(approved.request_id))
    assert "others decide on it" not in own


def test_who_is_asked_only_later_does_not_see_it_yet(client: Client, world: World) -> None:
    request = world.ask()
    client.force_login(world.dan)
    answer = client.get(reverse("inbox"), {"request": str(request.request_id)})
    assert answer.status_code == 404


def test_a_lapsed_request_says_so(client: Client, world: World) -> None:
    request = world.ask(now=clock.now() - timedelta(minutes=10))
    response = post(client, world.bob, request)
    assert response.status_code == 409
    assert "nobody decided in time" in told(response)


def test_a_double_click_is_told_that_it_was_counted_once(client: Client, world: World) -> None:
    request = world.ask()
    assert post(client, world.bob, request).status_code == 302
    again = post(client, world.bob, request)
    assert again.status_code == 403
    assert "You have voted" in told(again)
    assert Decision.objects.count() == 1


def test_a_double_click_that_settled_it_is_told_so(client: Client, world: World) -> None:
    second = world.decide(world.bob, world.ask())
    assert post(client, world.carol, second).status_code == 302
    again = post(client, world.carol, second)
    assert again.status_code == 409
    assert "You have voted: you approved it at " in told(again)


def test_nobody_decides_on_their_own_request(client: Client, world: World) -> None:
    request = world.ask()
    response = post(client, world.alice, request)
    assert response.status_code == 403
    assert "Nobody decides on their own request" in told(response)
    assert not Decision.objects.exists()


def test_a_requester_who_opens_it_here_sees_no_buttons(client: Client, world: World) -> None:
    request = world.ask()
    text = page(client, world.alice, request=str(request.request_id))
    assert "so others decide on it" in text
    assert 'value="approve"' not in text


def test_a_reader_who_is_not_asked_sees_no_buttons(client: Client, world: World) -> None:
    request = world.ask()
    text = page(client, world.dora, request=str(request.request_id))
    assert "not among those who may decide" in text
    assert 'value="approve"' not in text


def test_someone_who_may_see_it_but_not_decide_gets_403(client: Client, world: World) -> None:
    request = world.ask()
    response = post(client, world.dora, request)
    assert response.status_code == 403
    assert "not among those who may decide" in told(response)


def test_an_approver_who_was_deactivated_meanwhile_decides_nothing(
    client: Client, world: World
) -> None:
    request = world.ask()
    client.force_login(world.bob)
    world.bob.is_active = False
    world.bob.save()
    response = client.post(
        reverse("request_decide", args=[request.request_id]),
        {"verdict": "approve", "seen_revision": "1"},
    )
    assert response.status_code == 302  # the session is worth nothing any more
    assert "login" in response["Location"]
    assert not Decision.objects.exists()


@pytest.mark.parametrize("method", ["get", "post"])
def test_requests_of_others_do_not_exist(client: Client, world: World, method: str) -> None:
    request = world.ask()
    client.force_login(world.mallory)
    if method == "get":
        response = client.get(reverse("inbox"), {"request": str(request.request_id)})
    else:
        response = post(client, world.mallory, request)
    assert response.status_code == 404
    assert not Decision.objects.exists()


@pytest.mark.parametrize("value", ["x", str(uuid.UUID(int=7)), "1" * 5000, "\0"])
def test_an_unknown_request_is_404(client: Client, world: World, value: str) -> None:
    client.force_login(world.bob)
    assert client.get(reverse("inbox"), {"request": value}).status_code == 404


@pytest.mark.parametrize("after", ["x", "2026-01-01~x", f"2026-01-01T00:00~{uuid.UUID(int=7)}"])
def test_a_broken_link_to_the_next_page_is_400(client: Client, world: World, after: str) -> None:
    client.force_login(world.bob)
    assert client.get(reverse("inbox"), {"after": after}).status_code == 400


@pytest.mark.parametrize("seen", ["", "x", "-1", "9" * 40, "1.5", "١"])
def test_nonsense_for_the_revision_seen_is_400(client: Client, world: World, seen: str) -> None:
    request = world.ask()
    assert post(client, world.bob, request, seen_revision=seen).status_code == 400
    assert not Decision.objects.exists()


@pytest.mark.parametrize("verdict", ["", "maybe", "APPROVE"])
def test_nonsense_for_the_verdict_is_400(client: Client, world: World, verdict: str) -> None:
    request = world.ask()
    response = post(client, world.bob, request, verdict=verdict, comment="kept")
    assert response.status_code == 400
    assert 'value="kept"' in told(response)
    assert not Decision.objects.exists()


def test_more_fields_than_the_form_has_change_nothing(client: Client, world: World) -> None:
    request = world.ask()
    extra = {"state": "approved", "actor": world.carol.pk, "ends_at": "2099-01-01", "level": "9"}
    assert post(client, world.bob, request, **extra).status_code == 302
    newest = world.newest(request)
    assert (newest.state, newest.level, newest.actor) == ("pending", 2, world.bob)


def test_enter_in_the_comment_approves_nothing(client: Client, world: World) -> None:
    """A browser presses a form's first button on Enter; that one has no verdict."""
    world.ask()
    text = page(client, world.bob)
    form = text[text.index('class="decide"') :]
    assert form.index('name="verdict" value=""') < form.index('name="verdict" value="approve"')


def test_looking_changes_nothing(client: Client, world: World) -> None:
    request = world.ask()
    page(client, world.bob, request=str(request.request_id), verdict="approve")
    assert world.newest(request).revision == 1


def test_the_list_is_paged_by_keyset(client: Client, world: World) -> None:
    now = clock.now()
    group = Group.objects.get(name="eng")
    for number in range(52):
        person = User.objects.create_user(
            f"p{number}", f"p{number}@example.com", name=f"Person {number:02}", manager=world.bob
        )
        Membership.objects.create(person=person, group=group)
        world.ask(by=person, now=now - timedelta(seconds=number % 50))
    first = page(client, world.bob)
    assert first.count("data-item") == 50
    link = first[first.index("?after=") :].split('"')[0]
    client.force_login(world.bob)
    second = client.get(reverse("inbox") + html.unescape(link)).content.decode()
    assert second.count("data-item") == 2


def test_the_decided_tab_shows_what_became_of_it(client: Client, world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request, comment="All right.")
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    client.force_login(world.bob)
    text = html.unescape(client.get(reverse("inbox_decided")).content.decode())
    assert "All right." in text
    assert "Cancelled" in text
    client.force_login(world.mallory)
    assert "decided on nothing yet" in client.get(reverse("inbox_decided")).content.decode()


def test_an_escalated_page_is_stale(client: Client, world: World) -> None:
    request = world.ask(now=clock.now() - timedelta(seconds=61))
    response = post(client, world.bob, request)
    assert response.status_code == 409
    assert "Escalated because Manager stayed silent" in told(response)
    assert not escalation.advance(request.request_id, now=clock.now())


XSS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "</textarea><svg onload=alert(1)>",
    "{{ 7*7 }}{% load x %}",
    "javascript:alert(1)",
    "\u202ereversed <b>",
]


@pytest.mark.parametrize("text", XSS)
def test_free_texts_are_only_text(client: Client, world: World, text: str) -> None:
    world.alice.title = text[:200]
    world.alice.save()
    world.write.description = text
    world.write.save()
    request = world.ask(what=world.own, reason=text, ticket=text[:100])
    world.decide(world.dan, request, comment=text)
    client.force_login(world.carol)
    response = post(client, world.carol, request, comment=text)
    assert response.status_code == 409
    body = response.content.decode()
    assert "<script>alert" not in body
    assert "<img src=x" not in body
    assert "<svg onload" not in body
    assert "<b>" not in body.split('class="quote reason"')[1].split("</p>")[0]
    assert "49" not in body.split('class="quote reason"')[1].split("</p>")[0]
