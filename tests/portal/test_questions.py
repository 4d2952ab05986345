"""Questions on the pages: the inbox's pane, the request's page, My access."""

import html
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from approvals.models import AccessRequest, RequestMessage, User
from approvals.selectors import chains, clock, timeline
from approvals.services import questions
from tests.world import World

HTMX = {"HX-Request": "true"}
XSS = "<script>alert(1)</script>"


def told(response: Any) -> str:
    return html.unescape(response.content.decode())


def see(client: Client, who: User, address: str) -> str:
    client.force_login(who)
    response = client.get(address)
    assert response.status_code == 200
    return told(response)


def inbox(client: Client, who: User, request: AccessRequest) -> str:
    return see(client, who, f"{reverse('inbox')}?request={request.request_id}")


def page(client: Client, who: User, request: AccessRequest) -> str:
    return see(client, who, reverse("request", args=[request.request_id]))


def send(client: Client, who: User, name: str, request: AccessRequest, **data: Any) -> Any:
    client.force_login(who)
    headers = data.pop("headers", {})
    return client.post(reverse(name, args=[request.request_id]), data, headers=headers)


def ask(request: AccessRequest, who: User, text: str = "Which rows?") -> RequestMessage:
    return questions.ask(actor=who, request_id=request.request_id, text=text, now=clock.now())


def test_asking_in_the_inbox_returns_to_the_same_request(client: Client, world: World) -> None:
    request = world.ask()
    assert "Ask Alice a question" in inbox(client, world.bob, request)
    response = send(client, world.bob, "inbox_ask", request, question="Which rows?")
    assert response.status_code == 302
    assert response["Location"] == f"{reverse('inbox')}?request={request.request_id}"
    text = told(client.get(response["Location"]))
    assert "Your question is sent." in text
    assert "Which rows?" in text
    assert "not answered yet" in text
    assert "question open" in text
    assert 'name="seen_revision" value="1"' in text


def test_asking_as_a_fragment_keeps_the_comment(client: Client, world: World) -> None:
    request = world.ask()
    response = send(
        client, world.bob, "inbox_ask", request, question="Which rows?", comment="Perhaps",
        headers=HTMX,
    )  # fmt: skip
    text = told(response)
    assert response.status_code == 200
    assert text.lstrip().startswith('<div id="board"')
    assert "Your question is sent." in text
    assert 'value="Perhaps"' in text


def test_a_question_makes_no_open_page_stale(client: Client, world: World) -> None:
    request = world.ask()
    ask(request, world.bob)
    response = send(
        client, world.bob, "request_decide", request, verdict="approve", seen_revision=1, comment=""
    )
    assert response.status_code == 302
    assert world.newest(request).level == 2


def test_what_is_wrong_stands_beside_the_field_and_the_text_is_kept(
    client: Client, world: World
) -> None:
    request = world.ask()
    long = "x" * 2001
    response = send(client, world.bob, "inbox_ask", request, question=long, headers=HTMX)
    text = told(response)
    assert response.status_code == 400
    assert 'id="question-error"' in text
    assert f">{long}</textarea>" in text
    response = send(client, world.bob, "request_ask", request, question=long)
    text = told(response)
    assert response.status_code == 400
    assert 'id="question-error"' in text
    assert f">{long}</textarea>" in text
    ask(request, world.bob)
    response = send(client, world.alice, "request_answer", request, question=1, answer=long)
    text = told(response)
    assert response.status_code == 400
    assert 'id="answer-error"' in text
    assert f">{long}</textarea>" in text


def test_who_may_not_ask_is_refused_and_reads_what_was_not_sent(
    client: Client, world: World
) -> None:
    request = world.ask()
    world.decide(world.bob, request)
    response = send(client, world.bob, "inbox_ask", request, question="Which rows?", headers=HTMX)
    assert response.status_code == 403
    assert "You have voted on this request" in told(response)
    response = send(client, world.bob, "request_ask", request, question="Which rows?")
    assert response.status_code == 403
    assert "Not sent: “<bdi>Which rows?</bdi>”" in told(response)
    response = send(client, world.mallory, "request_ask", request, question="Which rows?")
    assert response.status_code == 404
    assert send(client, world.mallory, "inbox_ask", request, question="?").status_code == 404
    assert not RequestMessage.objects.exists()


def test_the_requester_answers_on_the_page(client: Client, world: World) -> None:
    request = world.ask()
    assert "Questions</h2>" not in page(client, world.alice, request)
    ask(request, world.bob)
    text = page(client, world.alice, request)
    assert "Your answer" in text
    assert "Ask Alice a question" not in text
    assert "They stop no clock" in text
    response = send(client, world.alice, "request_answer", request, question=1, answer="Order 317.")
    assert response.status_code == 302
    text = told(client.get(response["Location"]))
    assert "Your answer is sent to those who decide." in text
    assert "Order 317." in text
    assert "Add to the answer" in text
    text = inbox(client, world.bob, request)
    assert "Order 317." in text
    assert "<b>answered</b>" in text
    assert "Your answer" not in page(client, world.bob, request)


@pytest.mark.parametrize("question", ["", "x", "7", "99999999", "-1"])
def test_an_answer_to_nothing_is_refused(client: Client, world: World, question: str) -> None:
    request = world.ask()
    response = send(client, world.alice, "request_answer", request, question=question, answer="So.")
    assert response.status_code == 400
    assert "There is no such question" in told(response)
    assert "Not sent: “<bdi>So.</bdi>”" in told(response)


def test_once_it_is_settled_it_is_read_only(client: Client, world: World) -> None:
    request = world.ask()
    ask(request, world.bob)
    world.decide(world.bob, request, "deny", comment="No.")
    text = page(client, world.alice, request)
    assert "Which rows?" in text
    assert "not answered" in text
    assert "Your answer" not in text
    response = send(client, world.alice, "request_answer", request, question=1, answer="Late.")
    assert response.status_code == 409
    assert "denied already" in told(response)


def test_my_access_says_who_waits_for_an_answer(client: Client, world: World) -> None:
    request = world.ask()
    assert "asks you something" not in see(client, world.alice, "/")
    before = client.get("/", headers=HTMX)
    ask(request, world.bob)
    assert "Bob asks you something" in told(client.get("/", headers=HTMX))
    questions.answer(
        actor=world.alice, request_id=request.request_id, question=1, text="All.", now=clock.now()
    )
    assert "asks you something" not in told(client.get("/"))
    assert before.status_code == 200


def test_free_text_is_shown_as_text(client: Client, world: World) -> None:
    request = world.ask()
    ask(request, world.bob, XSS)
    questions.answer(
        actor=world.alice, request_id=request.request_id, question=1, text=XSS, now=clock.now()
    )
    client.force_login(world.bob)
    for address in (
        reverse("request", args=[request.request_id]),
        f"{reverse('inbox')}?request={request.request_id}",
    ):
        raw = client.get(address).content.decode()
        assert XSS not in raw
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in raw


def test_the_status_of_a_page_changes_with_a_question(client: Client, world: World) -> None:
    request = world.ask()
    client.force_login(world.alice)
    address = reverse("request_status", args=[request.request_id])
    seen = timeline.mark(request.request_id, revision=1)
    assert client.get(address, {"seen": seen}).status_code == 204
    ask(request, world.bob)
    text = told(client.get(address, {"seen": seen}))
    assert "Which rows?" in text


@pytest.mark.parametrize("who", ["alice", "bob", "carol", "dora"])
def test_pages_with_questions_keep_their_ceilings(client: Client, world: World, who: str) -> None:
    requests = [world.ask(), world.ask(what=world.own, ticket="X-1")]
    for request, asker in zip(requests, (world.bob, world.carol), strict=True):
        for _ in range(3):
            ask(request, asker)
        questions.answer(
            actor=request.requester, request_id=request.request_id, question=1, text="All.",
            now=clock.now(),
        )  # fmt: skip
    client.force_login(getattr(world, who))
    read = requests[1 if who == "carol" else 0]
    addresses = [reverse("request", args=[read.request_id]), reverse("inbox"), "/"]
    for address in addresses:
        chains._pinned.cache_clear()
        with CaptureQueriesContext(connection) as seen:
            assert client.get(address).status_code == 200
        assert len(seen) <= 12, f"{address}\n" + "\n".join(q["sql"][:120] for q in seen)


def test_the_audit_search_finds_both(client: Client, world: World) -> None:
    request = world.ask()
    ask(request, world.bob, "Which ochre rows?")
    questions.answer(
        actor=world.alice, request_id=request.request_id, question=1, text="The ochre ones.",
        now=clock.now(),
    )  # fmt: skip
    text = see(client, world.dora, f"{reverse('audit')}?q=ochre&kind=questions")
    assert "Asked a question" in text
    assert "Which ochre rows?" in text
    assert "The ochre ones." in text
    assert "Which ochre rows?" not in see(
        client, world.dora, f"{reverse('audit')}?q=ochre&kind=grants"
    )
