"""What stands beside a request's revisions, written at once: numbers without a gap, one place each."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from approvals.domain.refusals import NotAllowed, Refusal
from approvals.models import RefusedAttempt, RequestHandover, RequestMessage, User
from approvals.models.refused import MOST
from approvals.selectors import clock
from approvals.services import passing, questions
from audit.models import Entry
from tests.world import World

Race = Callable[[Sequence[Callable[[], Any]]], list[Any]]

pytestmark = pytest.mark.django_db(transaction=True)


def test_messages_at_once_are_numbered_without_a_gap(world: World, race: Race) -> None:
    request = world.ask()
    first = questions.ask(
        actor=world.bob, request_id=request.request_id, text="Which?", now=clock.now()
    )

    def ask(text: str) -> Any:
        return questions.ask(
            actor=world.bob, request_id=request.request_id, text=text, now=clock.now()
        )

    def answer(text: str) -> Any:
        return questions.answer(
            actor=world.alice, request_id=request.request_id, question=first.number, text=text,
            now=clock.now(),
        )  # fmt: skip

    results = race(
        [partial(ask, f"q{n}") for n in range(4)] + [partial(answer, f"a{n}") for n in range(4)]
    )
    assert not [each for each in results if isinstance(each, Exception)]
    numbers = RequestMessage.objects.filter(request_id=request.request_id).order_by("number")
    assert list(numbers.values_list("number", flat=True)) == list(range(1, 10))
    assert {row.text for row in numbers} == {"Which?", *(f"{a}{n}" for a in "qa" for n in range(4))}


def test_one_place_goes_to_one_person(world: World, race: Race) -> None:
    for _ in range(5):
        request = world.ask()

        def give(to: User, request: Any = request) -> Any:
            return passing.hand_over(
                actor=world.bob, request_id=request.request_id, to=to, comment="Away.",
                seen_revision=1, now=clock.now(),
            )  # fmt: skip

        results = race([partial(give, to) for to in (world.dora, world.mallory, world.erin)])
        made = [each for each in results if isinstance(each, RequestHandover)]
        assert len(made) == 1
        assert all(isinstance(each, Refusal) for each in results if each not in made)
        assert RequestHandover.objects.filter(request_id=request.request_id).count() == 1
        world.decide(made[0].taker, request, "deny")


def test_refused_attempts_at_once_are_all_refused_and_told_once_each(
    world: World, race: Race
) -> None:
    request = world.ask()
    for _ in range(3):
        results = race([lambda: world.decide(world.alice, request)] * 8)
        assert all(isinstance(each, NotAllowed) for each in results)
    numbers = list(RefusedAttempt.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))
    assert 3 <= len(numbers) <= MOST
    assert Entry.objects.filter(model="refused_attempt").count() == len(numbers)
    assert world.newest(request).revision == 1
