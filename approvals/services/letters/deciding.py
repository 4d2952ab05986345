"""Letters to those who decide: it is their turn, or it is not any more."""

from dataclasses import replace

from approvals.domain import escalation
from approvals.domain.states import State
from approvals.selectors import chains
from approvals.services.letters.letter import DECIDES_NOTHING, NAME_MOST, Case, Fact, Letter
from approvals.services.wording import listed, short


def your_turn(case: Case) -> Letter:
    """Say that the reader may decide now: approval_needed, reminder, escalated."""
    view, record = case.view, case.record
    assert view is not None
    level, progress = view.level, view.progress
    assert level is not None
    assert progress.due_at is not None
    due, away = case.clock.at(progress.due_at), case.clock.away(progress.due_at)
    last = progress.escalations >= len(level.escalate)
    waits = {
        "approval_needed": "Waiting for you",
        "reminder": "Still waiting for you",
        "escalated": "Escalated to you",
    }[case.kind]
    begins = {"approval_needed": "Decide", "reminder": "Reminder", "escalated": "Escalated to you"}
    before: tuple[str, ...] = ()
    if case.kind == "escalated":
        name = short(str(case.event.detail.get("level_name", level.name)), NAME_MOST)
        before = (f"The level {name} stayed silent, so now you are asked.",)
    giver = ""
    if case.handover is not None:
        giver = short(case.handover.giver_name, NAME_MOST)
        before = (f"{giver} handed it over to you: “{short(case.handover.comment, 500)}”",)
    return Letter(
        subject=f"{begins[case.kind]}: {case.requester} asks for {case.access}",
        eyebrow=f"{waits} · {'lapses' if last else 'escalates'} at {due}, {away}",
        headline=f"{case.requester} asks for {case.access} for {case.length}",
        quote=record.reason,
        quoted="The reason",
        facts=_request_facts(case) + _part(case, view),
        paragraphs=(*before, f"Read the request and approve or deny it by {due}."),
        silence=_silence(case, view, due=due),
        why=f"You get this because {giver} handed this request over to you."
        if giver
        else "You get this because you may decide on this request.",
        action="Read and decide",
        url=case.inbox,
        url_note=DECIDES_NOTHING,
    )


def _request_facts(case: Case) -> tuple[Fact, ...]:
    record = case.record
    tone = {"high": "bad", "medium": "warn"}.get(record.risk, "")
    facts = [Fact("Risk", record.risk.title(), tone)]
    if record.subject_id != record.requester_id:
        facts.append(Fact("Access for", case.subject))
    if record.starts_at is not None:
        facts.append(Fact("Starts", case.clock.at(record.starts_at)))
    if record.ticket:
        facts.append(Fact("Ticket", short(record.ticket, 100)))
    return tuple(facts)


def _part(case: Case, view: chains.ChainView) -> tuple[Fact, ...]:
    level, progress = view.level, view.progress
    assert level is not None
    place = f"Level {progress.level} of {len(view.chain.levels)}, {short(level.name, NAME_MOST)}"
    facts = [Fact("Your part", place)]
    if level.quorum > 1:
        facts.append(Fact("Approvals", f"{progress.votes_at_level} of {level.quorum} so far"))
    others = view.names_of(view.electorate - {case.to.pk})
    if others:
        facts.append(Fact("Also asked", listed((short(n, NAME_MOST) for n in others), "and")))
    if view.votes:
        names = view.names_of(int(str(vote.actor)) for vote in view.votes)
        facts.append(Fact("Approved by", listed((short(n, NAME_MOST) for n in names), "and")))
    return tuple(facts)


def _silence(case: Case, view: chains.ChainView, *, due: str) -> str:
    level, progress = view.level, view.progress
    assert level is not None
    if progress.escalations >= len(level.escalate):
        return f"If nobody decides by {due}, the request lapses and {case.subject} gets no access."
    later = escalation.electorate(
        view.chain,
        replace(progress, escalations=progress.escalations + 1),
        view.parties,
        view.directory,
    )
    new = view.names_of(int(str(key)) for key in later - view.electorate)
    keeps = case.to.pk in later
    if not new:
        if not keeps:
            return f"If you stay silent, it is out of your hands at {due}."
        return f"If nobody decides by {due}, it escalates, but nobody new is asked."
    asked = listed((short(name, NAME_MOST) for name in new), "and")
    verb = "is" if len(new) == 1 else "are"
    return f"If you stay silent, {asked} {verb} asked at {due}{'' if keeps else ' instead of you'}."


def settled(case: Case) -> Letter:
    """Say to someone who was asked that the request is decided."""
    word = case.event.state
    by = f" by {case.actor}" if word in ("approved", "denied", "cancelled") else ""
    return Letter(
        subject=f"Settled: {case.requester}'s {case.access} was {_done(word)}",
        eyebrow="Settled · nothing to do any more",
        headline=f"{case.requester}'s request for {case.access} was {_done(word)}{by}",
        quote=case.event.comment,
        quoted=case.said,
        paragraphs=("It left your inbox. There is nothing for you to do any more.",),
        why="You get this because you were asked to decide.",
        action="Look at it",
        url=case.page,
    )


def _done(state: str) -> str:
    return "left without a decision, so that it lapsed" if state == State.LAPSED else state


def level_done(case: Case) -> Letter:
    """Say to someone who was asked that others completed the level."""
    detail = case.event.detail
    name = short(str(detail.get("level_name", "")), NAME_MOST)
    then: tuple[str, ...] = ()
    if case.record.state == State.PENDING and case.view is not None and case.view.level:
        then = (f"It goes on to the next level, {short(case.view.level.name, NAME_MOST)}.",)
    return Letter(
        subject=f"Nothing to do: {case.actor} approved {case.access} for {case.subject}",
        eyebrow="Your level is complete · nothing to do any more",
        headline=f"{case.actor} approved {case.requester}'s request for {case.access}",
        quote=case.event.comment,
        quoted=case.said,
        facts=(Fact("Level", f"{detail.get('level', '')}, {name}"),),
        paragraphs=(*then, "It left your inbox. There is nothing for you to do any more."),
        why="You get this because you were asked to decide.",
        action="Look at it",
        url=case.page,
    )
