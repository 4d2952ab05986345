"""The same write sent many times at once under one key: it happens once, all get its answer."""

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from approvals.models import (
    AccessRequest,
    Decision,
    KeyedWrite,
    OutboxItem,
    RequestMessage,
    User,
)
from approvals.selectors import clock
from approvals.services import repeats
from audit.models import Entry
from tests.world import World

Race = Callable[[Sequence[Callable[[], Any]]], list[Any]]

pytestmark = pytest.mark.django_db(transaction=True)
AT_ONCE = 20


def _ask(world: World, *, key: str, by: User | None = None, **more: Any) -> Any:
    client = Client()
    client.force_login(by or world.alice)
    form = {
        "entitlement": world.write.pk, "length": "3600", "when": "now",
        "reason": "Reprocess stuck refunds.",
    } | more  # fmt: skip
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/requests/new/", form, headers=headers)


def test_a_hundred_of_one_key_are_one_request_with_one_answer(world: World, race: Race) -> None:
    key = f'"{uuid.uuid4()}"'
    answers = []
    for _ in range(5):
        answers += race([lambda: _ask(world, key=key)] * AT_ONCE)
    assert Counter(answer.status_code for answer in answers) == {302: 100}
    record = AccessRequest.objects.get()
    assert {answer["Location"] for answer in answers} == {f"/requests/{record.request_id}/"}
    assert Entry.objects.filter(model="request").count() == 1
    asks = OutboxItem.objects.filter(payload__kind="approval_needed")
    assert asks.count() == 1, "who decides is told once"


def test_a_key_that_comes_with_another_body_is_refused(world: World) -> None:
    first = _ask(world, key="k-1")
    assert first.status_code == 302
    others: list[dict[str, Any]] = [{"reason": "Else."}, {"length": "7200"}, {"ticket": "INC-1"}]
    for more in others:
        again = _ask(world, key="k-1", **more)
        assert again.status_code == 422
        assert "This key was used for something else" in again.content.decode()
    assert AccessRequest.objects.count() == 1
    assert _ask(world, key="k-1")["Location"] == first["Location"]


def test_a_key_is_of_one_person(world: World) -> None:
    assert _ask(world, key="k-1")["Location"] != _ask(world, key="k-1", by=world.dan)["Location"]
    assert AccessRequest.objects.count() == 2


def test_what_was_refused_may_be_sent_again_with_its_key(world: World) -> None:
    assert _ask(world, key="k-1", reason="").status_code == 400
    assert not KeyedWrite.objects.exists()
    assert _ask(world, key="k-1").status_code == 302
    assert _ask(world, key="k-2").status_code == 400, "there is an open request for it"
    assert KeyedWrite.objects.count() == 1


@pytest.mark.parametrize("key", ["x" * 256, "tab\tin it", "\u00e9"])
def test_a_key_that_is_none_is_refused(world: World, key: str) -> None:
    answer = _ask(world, key=key.encode().decode("latin-1"))
    assert answer.status_code == 400
    assert "printable ASCII" in answer.content.decode()
    assert AccessRequest.objects.count() == 0


def test_a_form_sent_twice_leads_to_the_same_request(world: World, race: Race) -> None:
    answers = race([lambda: _ask(world, key="", form_key="f-1")] * AT_ONCE)
    assert len({answer["Location"] for answer in answers}) == 1
    record = AccessRequest.objects.get()
    client = Client()
    client.force_login(world.alice)
    form = {"entitlement": world.write.pk, "length": "3600", "when": "now",
            "reason": "Reprocess stuck refunds.", "form_key": "f-1"}  # fmt: skip
    page = client.post("/requests/new/", form, follow=True)
    assert page.redirect_chain == [(f"/requests/{record.request_id}/", 302)]
    assert "This was sent already." in page.content.decode()
    # Changed and sent again it is another form: it's refused for what it says.
    assert _ask(world, key="", form_key="f-1", length="7200").status_code == 400


def test_a_decision_of_one_key_is_made_once(world: World, race: Race) -> None:
    request = world.ask()

    def decide() -> Any:
        client = Client()
        client.force_login(world.bob)
        return client.post(
            f"/requests/{request.request_id}/decide/",
            {"verdict": "approve", "seen_revision": "1"},
            headers={"Idempotency-Key": "d-1"},
        )

    answers = race([decide] * AT_ONCE)
    assert Counter(answer.status_code for answer in answers) == {302: AT_ONCE}
    assert len({answer["Location"] for answer in answers}) == 1
    assert Decision.objects.filter(request_id=request.request_id).count() == 1


def test_keys_are_forgotten_after_a_day(world: World) -> None:
    assert _ask(world, key="k-1").status_code == 302
    KeyedWrite.objects.update(created_at=clock.now() - repeats.KEPT - timedelta(seconds=1))
    assert _ask(world, key="k-2", by=world.dan).status_code == 302
    assert [row.key for row in KeyedWrite.objects.all()] == ["k-2"]


def test_a_question_of_one_form_is_asked_once(world: World, race: Race) -> None:
    request = world.ask()

    def ask() -> Any:
        client = Client()
        client.force_login(world.bob)
        return client.post(
            f"/requests/{request.request_id}/ask/",
            {"question": "Which refunds?", "form_key": "q-1"},
        )

    answers = race([ask] * 4)
    assert Counter(answer.status_code for answer in answers) == {302: 4}
    assert RequestMessage.objects.filter(request_id=request.request_id).count() == 1
