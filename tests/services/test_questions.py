"""Questions back: who may ask and answer, what is refused, and who is told."""

import contextlib
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Settled
from approvals.models import AccessRequest, RequestMessage, User
from approvals.selectors import clock, noticing, questions, timeline
from approvals.services import preferences, requests
from approvals.services import questions as service
from audit.models import Entry
from tests.services.mails import Deliver
from tests.world import World, notices


def ask(
    world: World, request: AccessRequest, who: User | None = None, text: str = "Which rows?"
) -> RequestMessage:
    return service.ask(
        actor=who or world.bob, request_id=request.request_id, text=text, now=clock.now()
    )


def answer(
    world: World,
    request: AccessRequest,
    question: int = 1,
    who: User | None = None,
    text: str = "Order 317 only.",
) -> RequestMessage:
    return service.answer(
        actor=who or world.alice,
        request_id=request.request_id,
        question=question,
        text=text,
        now=clock.now(),
    )


def choose(person: User, mode: str) -> None:
    preferences.set_notices(
        actor=person, modes={"question": mode}, quiet_begins=None, quiet_ends=None,
        quiet_weekdays=(), digest_hour=8, now=clock.now(),
    )  # fmt: skip


def unread(person: User) -> int:
    return noticing.unread_count(person=person)


def test_an_approver_asks_and_the_requester_answers(world: World) -> None:
    request = world.ask()
    asked = ask(world, request, text="  Which rows?  ")
    answered = answer(world, request)
    assert [(m.number, m.kind, m.answers, m.text) for m in (asked, answered)] == [
        (1, "question", None, "Which rows?"),
        (2, "answer", 1, "Order 317 only."),
    ]
    entries = Entry.objects.filter(model="request_message").order_by("id")
    assert [entry.object_id for entry in entries] == [
        f"{request.request_id}.1",
        f"{request.request_id}.2",
    ]


def test_a_question_makes_no_revision_and_stops_no_clock(world: World) -> None:
    request = world.ask()
    ask(world, request)
    after = world.newest(request)
    assert (after.revision, after.due_at) == (request.revision, request.due_at)
    decided = world.decide(world.bob, request, seen=request.revision)
    assert decided.level == 2


@pytest.mark.parametrize(
    ("who", "code"),
    [
        ("alice", "self_decision"),
        ("carol", "not_an_approver"),
        ("mallory", "not_an_approver"),
        ("dora", "not_an_approver"),
        ("admin", "not_an_approver"),
    ],
)
def test_only_who_may_decide_now_asks(world: World, who: str, code: str) -> None:
    request = world.ask()
    with pytest.raises(NotAllowed) as refused:
        ask(world, request, getattr(world, who))
    assert refused.value.code == code
    assert not RequestMessage.objects.exists()


def test_who_has_voted_asks_no_more_and_the_next_level_may(world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request)
    with pytest.raises(NotAllowed, match="voted"):
        ask(world, request)
    ask(world, request, world.carol)
    ask(world, request, world.dan)
    assert questions.open_numbers(request.request_id) == [1, 2]


@pytest.mark.parametrize("who", ["bob", "carol", "mallory", "dora", "admin"])
def test_only_requester_and_subject_answer(world: World, who: str) -> None:
    request = world.ask()
    ask(world, request)
    with pytest.raises(NotAllowed, match="asked for the access"):
        answer(world, request, who=getattr(world, who))
    assert RequestMessage.objects.count() == 1


def test_the_subject_answers_too(world: World) -> None:
    request = world.ask(by=world.dan, subject=world.alice)
    ask(world, request)
    assert set(notices("question")) == {("question", world.alice.pk), ("question", world.dan.pk)}
    answer(world, request, who=world.alice)
    answer(world, request, who=world.dan)
    assert RequestMessage.objects.filter(answers=1).count() == 2


def test_nothing_is_asked_or_answered_once_it_is_settled(world: World) -> None:
    request = world.ask()
    ask(world, request)
    world.decide(world.bob, request, "deny")
    with pytest.raises(Settled, match="denied already"):
        ask(world, request)
    with pytest.raises(Settled, match="denied already"):
        answer(world, request)
    with pytest.raises(NotFound):
        service.ask(actor=world.bob, request_id=world.bob.uid, text="Which rows?", now=clock.now())


def test_what_is_due_by_the_clock_comes_first(world: World) -> None:
    request = world.ask()
    assert request.due_at is not None
    late = request.due_at + timedelta(seconds=1)
    with pytest.raises(NotAllowed, match="not among those"):
        service.ask(actor=world.mallory, request_id=request.request_id, text="Why?", now=late)
    assert world.newest(request).event == "escalated"
    service.ask(actor=world.erin, request_id=request.request_id, text="Why?", now=late)
    for _ in range(4):
        due_at = world.newest(request).due_at
        if due_at is None:
            break
        with contextlib.suppress(Settled):
            service.answer(
                actor=world.alice, request_id=request.request_id, question=1, text="So.",
                now=due_at + timedelta(seconds=1),
            )  # fmt: skip
    assert world.newest(request).state == "lapsed"


@pytest.mark.parametrize(("text", "why"), [(" ", "Write"), ("a\0b", "NUL"), ("x" * 2001, "2,000")])
def test_texts_that_are_refused(world: World, text: str, why: str) -> None:
    request = world.ask()
    with pytest.raises(Invalid, match=why) as refused:
        ask(world, request, text=text)
    assert refused.value.field == "question"
    ask(world, request)
    with pytest.raises(Invalid, match=why) as refused:
        answer(world, request, text=text)
    assert refused.value.field == "answer"


def test_an_answer_needs_a_question_of_this_request(world: World) -> None:
    request = world.ask()
    ask(world, request)
    answer(world, request)
    for number in (0, 2, 9):
        with pytest.raises(Invalid, match="no such question"):
            answer(world, request, question=number)


def test_there_is_an_end_to_questions_and_to_answers(world: World) -> None:
    request = world.ask()
    ask(world, request)
    for _ in range(questions.ANSWERS_MOST):
        answer(world, request)
    with pytest.raises(Invalid, match="takes no more") as refused:
        answer(world, request)
    assert refused.value.code == "too_many"
    while RequestMessage.objects.count() < questions.MESSAGES_MOST - 1:
        ask(world, request)
    with pytest.raises(Invalid, match="no more can be asked") as refused:
        ask(world, request)
    assert refused.value.code == "too_many"
    answer(world, request, question=questions.MESSAGES_MOST - 1)
    with pytest.raises(Invalid, match="takes no more"):
        answer(world, request, question=questions.MESSAGES_MOST - 1)


# -- what the database refuses -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"number": 3}, "message_follows"),
        ({"actor": "alice"}, "message_by_whom"),
        ({"kind": "answer", "answers": 1}, "message_by_whom"),
        ({"kind": "answer", "answers": 9, "actor": "alice"}, "message_answers"),
        ({"kind": "answer", "actor": "alice"}, "message_answers"),
        ({"answers": 1}, "message_kind_known"),
        ({"text": ""}, "message_says_something"),
    ],
)
def test_the_database_refuses_what_the_portal_would_never_write(
    world: World, values: dict[str, object], constraint: str
) -> None:
    request = world.ask()
    ask(world, request)
    row: dict[str, object] = {
        "request_id": request.request_id, "number": 2, "kind": "question", "actor": "bob",
        "text": "Why?", "occurred_at": clock.now(),
    } | values  # fmt: skip
    actor: User = getattr(world, str(row.pop("actor")))
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        RequestMessage(actor=actor, actor_name=actor.name, **row).save()
    assert refused.value.__cause__.diag.constraint_name == constraint  # type: ignore[union-attr]


def test_the_database_takes_no_message_on_what_is_settled(world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request, "deny")
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        RequestMessage(
            request_id=request.request_id, number=1, kind="question", actor=world.bob,
            actor_name="Bob", text="Why?", occurred_at=clock.now(),
        ).save()  # fmt: skip
    assert refused.value.__cause__.diag.constraint_name == "message_while_pending"  # type: ignore[union-attr]


# -- who is told -------------------------------------------------------------------------------


def test_a_question_is_told_once_to_who_asked_for_the_access(world: World) -> None:
    ask(world, world.ask())
    assert notices("question") == [("question", world.alice.pk)]


def test_an_answer_is_told_to_who_asked_and_to_all_who_are_asked_now(world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request)
    ask(world, request, world.carol)
    answer(world, request)
    assert sorted(notices("answer")) == sorted(
        [("answer", world.carol.pk), ("answer", world.dan.pk)]
    )


def test_who_asked_is_told_though_others_decide_by_now(world: World) -> None:
    request = world.ask()
    ask(world, request)
    assert request.due_at is not None
    later = request.due_at + timedelta(seconds=1)
    service.answer(
        actor=world.alice, request_id=request.request_id, question=1, text="All.", now=later
    )
    assert sorted(notices("answer")) == sorted(
        [("answer", world.bob.pk), ("answer", world.erin.pk)]
    )


def test_the_mails_say_what_was_asked_and_answered(world: World, deliver: Deliver) -> None:
    request = world.ask()
    ask(world, request)
    [mail] = deliver("question")
    assert mail.to == "alice@example.com"
    assert mail.subject == "Bob asks you about orders-db · read-write"
    assert mail.says(
        "Bob has a question about your request for orders-db · read-write",
        "Which rows?",
        "The question stops no clock",
    )
    assert any(
        link.endswith(f"/requests/{request.request_id}/#questions") for link in mail.page.links
    )
    answer(world, request)
    [mail] = deliver("answer")
    assert mail.to == "bob@example.com"
    assert mail.subject == "Alice answers about orders-db · read-write"
    assert mail.says("Alice has answered you", "Order 317 only.", "The question", "Which rows?")


def test_a_question_that_is_answered_by_now_is_not_mailed(world: World, deliver: Deliver) -> None:
    request = world.ask(by=world.dan, subject=world.alice)
    ask(world, request)
    answer(world, request)
    assert deliver("question") == []
    assert len(deliver("answer")) == 1
    ask(world, request)
    requests.cancel(actor=world.dan, request_id=request.request_id, now=clock.now())
    assert deliver("question") == []


def test_a_question_counts_until_it_is_answered_by_either(world: World, deliver: Deliver) -> None:
    request = world.ask(by=world.dan, subject=world.alice)
    ask(world, request)
    deliver("question")
    assert (unread(world.alice), unread(world.dan)) == (1, 1)
    [line] = noticing.centre(person=world.alice)
    assert (line.is_asking, line.settled, line.is_unread) == (True, "", True)
    answer(world, request, who=world.dan)
    assert (unread(world.alice), unread(world.dan)) == (0, 0)
    [line] = noticing.centre(person=world.alice)
    assert (line.is_asking, line.settled) == (False, "Answered by Dan")


def test_a_question_is_settled_with_its_request(world: World, deliver: Deliver) -> None:
    request = world.ask()
    ask(world, request)
    deliver("question")
    world.decide(world.bob, request, "deny")
    [line] = noticing.centre(person=world.alice)
    assert (line.settled, line.is_unread) == ("Settled: denied", False)
    deliver("decided")
    assert [each.kind for each in noticing.centre(person=world.alice, only_unread=True)] == [
        "decided"
    ]


def test_a_question_may_wait_for_the_digest_but_not_be_silenced(
    world: World, deliver: Deliver
) -> None:
    with pytest.raises(Invalid):
        choose(world.alice, "portal")
    choose(world.alice, "digest")
    request = world.ask()
    ask(world, request)
    assert deliver("question") == []
    [entry] = noticing.waiting_for_digest(world.alice.pk)
    assert entry.notice.subject_line == "Bob asks you about orders-db · read-write"
    answer(world, request)
    assert noticing.waiting_for_digest(world.alice.pk) == []


# -- where it is read --------------------------------------------------------------------------


def test_the_history_tells_both(world: World) -> None:
    request = world.ask()
    ask(world, request)
    answer(world, request)
    lines = [line for line in timeline.load(request).lines if line.lead in ("Question", "Answer")]
    assert [(line.lead, line.text, line.quote) for line in lines] == [
        ("Answer", "by Alice", "Order 317 only."),
        ("Question", "by Bob", "Which rows?"),
    ]


def test_an_open_page_sees_that_something_was_said(world: World) -> None:
    request = world.ask()
    before = timeline.mark(request.request_id, revision=1)
    assert timeline.load(request).mark(1) == before
    ask(world, request)
    assert timeline.mark(request.request_id, revision=1) != before
    assert timeline.load(request).mark(1) == timeline.mark(request.request_id, revision=1)


def test_who_waits_for_an_answer_is_known_for_many_requests(world: World) -> None:
    first, second = world.ask(), world.ask(what=world.own, ticket="X-1")
    ask(world, first)
    ask(world, second, world.carol)
    answer(world, first)
    assert questions.askers([first, second]) == {second.request_id: "Carol"}
