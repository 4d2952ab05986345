"""Deciding on several requests at once: what is shown before, and what each one comes to."""

import html
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from approvals.models import AccessRequest, Decision, Group, Membership, User
from approvals.selectors import clock
from approvals.services import requests
from tests.world import World


def asked(world: World, count: int) -> list[AccessRequest]:
    """Return that many requests that wait for bob, each of another person."""
    group = Group.objects.get(name="eng")
    found = []
    for number in range(count):
        person = User.objects.create_user(
            f"p{number}", f"p{number}@example.com", name=f"Person {number:02}", manager=world.bob
        )
        Membership.objects.create(person=person, group=group)
        found.append(world.ask(by=person))
    return found


def picks(rows: list[AccessRequest]) -> list[str]:
    return [f"{row.request_id}~{row.revision}" for row in rows]


def look(client: Client, who: User, rows: list[AccessRequest], verdict: str = "approve") -> Any:
    client.force_login(who)
    return client.get(reverse("inbox_bulk"), {"verdict": verdict, "pick": picks(rows)})


def send(client: Client, who: User, rows: list[AccessRequest], **more: Any) -> Any:
    client.force_login(who)
    data = {"verdict": "approve", "pick": picks(rows), "comment": "Fine."} | more
    return client.post(reverse("inbox_bulk"), data, follow=True)


def told(response: Any) -> str:
    return html.unescape(response.content.decode())


def test_it_shows_what_will_happen_and_decides_nothing(client: Client, world: World) -> None:
    rows = asked(world, 3)
    response = look(client, world.bob, rows)
    text = told(response)
    assert response.status_code == 200
    for words in (
        "Approve 3 requests", "Person 00", "Person 02", "orders-db · read-write", "30 m",
        "3 of them are of high risk", "Decisions are final",
    ):  # fmt: skip
        assert words in text, words
    assert not Decision.objects.exists()


def test_each_is_decided_with_the_comment_and_reported(client: Client, world: World) -> None:
    rows = asked(world, 3)
    response = send(client, world.bob, rows)
    text = told(response)
    assert response.status_code == 200
    assert "3 of 3 decided" in text
    assert text.count("Approved. Level 2, Data owners, is asked.") == 3
    found = Decision.objects.values_list("actor", "verdict", "comment", "seen_revision")
    assert list(found) == [(world.bob.pk, "approve", "Fine.", 1)] * 3
    assert {world.newest(row).level for row in rows} == {2}


def test_denying_tells_each_requester(client: Client, world: World) -> None:
    rows = asked(world, 2)
    text = told(send(client, world.bob, rows, verdict="deny", comment="Use the view."))
    assert "2 of 2 decided" in text
    assert {world.newest(row).state for row in rows} == {"denied"}
    assert {world.newest(row).comment for row in rows} == {"Use the view."}


@pytest.mark.parametrize(
    ("verdict", "comment", "words"),
    [
        ("deny", " ", "Say why you deny it"), ("approve", "x" * 2_001, "2,000 are the most"),
        ("deny", "a\0b", "NUL character"),
    ],
)  # fmt: skip
def test_a_comment_that_is_refused_decides_nothing(
    client: Client, world: World, verdict: str, comment: str, words: str
) -> None:
    rows = asked(world, 2)
    response = send(client, world.bob, rows, verdict=verdict, comment=comment)
    assert response.status_code == 400
    assert words in told(response)
    assert "Person 01" in told(response)
    assert not Decision.objects.exists()


def test_one_that_was_settled_meanwhile_hinders_no_other(client: Client, world: World) -> None:
    first, second, third = asked(world, 3)
    requests.cancel(actor=first.requester, request_id=first.request_id, now=clock.now())
    world.decide(world.bob, second)  # in another window
    text = told(send(client, world.bob, [first, second, third]))
    assert "1 of 3 decided" in text
    assert "Person 00 cancelled it at " in text
    assert "You have voted on this request. It was counted once." in text
    assert world.newest(third).level == 2
    assert Decision.objects.filter(request_id=second.request_id).count() == 1


def test_a_vote_is_bound_to_the_revision_seen(client: Client, world: World) -> None:
    rows = [world.ask(what=world.own, ticket="X-1", by=world.alice)]
    Membership.objects.create(person=world.bob, group=Group.objects.get(name="data"))
    world.decide(world.dan, rows[0])
    text = told(send(client, world.carol, rows))
    assert "0 of 1 decided" in text
    assert "changed after you opened it" in text
    assert "Read it again" in text
    assert not Decision.objects.filter(actor=world.carol).exists()


def test_what_cannot_be_decided_together_is_named(client: Client, world: World) -> None:
    ours = asked(world, 1)[0]
    changed = world.ask(what=world.own, ticket="X-1", by=world.alice)
    Membership.objects.create(person=world.bob, group=Group.objects.get(name="data"))
    Membership.objects.create(person=world.bob, group=Group.objects.get(name="eng"))
    own = world.ask(by=world.bob)
    world.decide(world.dan, changed)
    voted = world.ask(by=world.alice)
    world.decide(world.bob, voted)
    response = look(client, world.bob, [ours, changed, own, voted])
    text = told(response)
    assert "Approve 1 request" in text
    assert [item.record.request_id for item in response.context["found"].able] == [ours.request_id]
    assert "It is your own, so others decide on it." in text
    assert "You have voted on it already." in text


def test_a_request_that_changed_is_left_out(client: Client, world: World) -> None:
    changed = world.ask(what=world.own, ticket="X-1", by=world.alice)
    Membership.objects.create(person=world.erin, group=Group.objects.get(name="data"))
    world.decide(world.dan, changed)
    response = look(client, world.carol, [changed])
    assert not response.context["found"].able
    assert "It changed after you selected it." in told(response)


def test_requests_of_others_are_not_told_of(client: Client, world: World) -> None:
    rows = [world.ask()]
    text = told(look(client, world.mallory, rows))
    assert "Alice" not in text
    assert "1 that does not wait for you" in text
    text = told(send(client, world.mallory, rows))
    assert "Alice" not in text
    assert "There is no such request." in text
    assert not Decision.objects.exists()


def test_at_most_fifty_at_once(client: Client, world: World) -> None:
    rows = asked(world, 1)
    client.force_login(world.bob)
    many = [f"{row.request_id}~1" for row in rows] + [
        f"00000000-0000-4000-8000-{number:012}~1" for number in range(50)
    ]
    assert (
        client.get(reverse("inbox_bulk"), {"verdict": "approve", "pick": many}).status_code == 400
    )
    response = client.post(reverse("inbox_bulk"), {"verdict": "approve", "pick": many})
    assert response.status_code == 400
    assert "at most 50" in told(response)
    assert not Decision.objects.exists()


@pytest.mark.parametrize(
    "data",
    [
        {}, {"verdict": "approve"}, {"verdict": "maybe", "pick": "x"},
        {"verdict": "approve", "pick": ["x", "~", "1~1", "\0"]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["get", "post"])
def test_nonsense_is_refused(client: Client, world: World, method: str, data: Any) -> None:
    client.force_login(world.bob)
    assert getattr(client, method)(reverse("inbox_bulk"), data).status_code == 400


def test_the_look_costs_few_queries_however_many(client: Client, world: World) -> None:
    rows = asked(world, 12)
    client.force_login(world.bob)
    with CaptureQueriesContext(connection) as seen:
        client.get(reverse("inbox_bulk"), {"verdict": "approve", "pick": picks(rows)})
    assert len(seen) <= 10, "\n".join(query["sql"][:100] for query in seen)


def test_what_is_selected_twice_is_decided_once(client: Client, world: World) -> None:
    rows = asked(world, 1)
    assert "1 of 1 decided" in told(send(client, world.bob, [*rows, *rows]))


def test_what_came_of_it_is_told_again_and_decided_once(client: Client, world: World) -> None:
    assert client.get(reverse("inbox_bulk_done"))["Location"].startswith("/accounts/login/")
    rows = asked(world, 2)
    client.force_login(world.bob)
    assert client.get(reverse("inbox_bulk_done"))["Location"] == reverse("inbox")
    form = {"verdict": "approve", "pick": picks(rows), "comment": "", "form_key": "k"}
    for _ in range(2):
        response = client.post(reverse("inbox_bulk"), form)
        assert response["Location"] == reverse("inbox_bulk_done")
        for _ in range(2):
            text = told(client.get(response["Location"]))
            assert "2 of 2 decided" in text
            assert "Level 2, Data owners, is asked." in text
            assert "voted" not in text
    assert Decision.objects.count() == 2
