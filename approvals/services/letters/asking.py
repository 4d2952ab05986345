"""Letters to those who asked: where their request stands, and what came of it."""

from approvals.domain.states import State
from approvals.selectors import requests as reads
from approvals.services.letters.letter import NAME_MOST, Case, Fact, Letter
from approvals.services.wording import listed, short


def moved_on(case: Case) -> Letter:
    """Say that a silent level escalated, and whose turn it is now."""
    view, event = case.view, case.event
    assert view is not None
    level, progress = view.level, view.progress
    assert level is not None
    assert progress.due_at is not None
    names = listed((short(n, NAME_MOST) for n in view.names_of(view.electorate)), "or") or "nobody"
    due = case.clock.at(progress.due_at)
    last = progress.escalations >= len(level.escalate)
    return Letter(
        subject=f"Escalated: {case.access} now waits for {names}",
        eyebrow=f"Still pending · {'lapses' if last else 'escalates'} at {due}, "
        f"{case.clock.away(progress.due_at)}",
        headline=f"{case.request} now waits for {names}",
        facts=(
            Fact("Silent", f"Level {event.detail.get('level', '')}, "
                 f"{short(str(event.detail.get('level_name', '')), NAME_MOST)}"),
        ),
        paragraphs=("You need to do nothing. If it is urgent, talk to them.",),
        silence=(
            f"If nobody decides by {due}, the request lapses; ask again then."
            if last
            else f"If nobody decides by {due}, the next people are asked."
        ),
        why=case.why,
        action="See the request",
        url=case.page,
    )  # fmt: skip


def decided(case: Case) -> Letter:
    """Say the outcome, by whom, with what words, and what comes next."""
    word = case.event.state.title()
    write = {
        State.APPROVED: _approved,
        State.DENIED: _denied,
        State.CANCELLED: _cancelled,
        State.LAPSED: _lapsed,
    }[State(case.event.state)]
    headline, paragraphs = write(case)
    decisions = [
        Fact(
            short(row.level_name, NAME_MOST) or f"Level {row.level}",
            f"{'Approved' if row.verdict == 'approve' else 'Denied'} by "
            f"{short(row.actor_name, NAME_MOST)}"
            + (
                f": “{short(row.comment, 300)}”" if row.comment and row.verdict == "approve" else ""
            ),
        )
        for row in reads.decisions(case.event.request_id)
        if row.revision <= case.event.revision
    ]
    said = case.event.comment if case.event.state in (State.DENIED, State.CANCELLED) else ""
    return Letter(
        subject=f"{word}: {case.access} for {case.length}",
        eyebrow=f"{word} at {case.clock.at(case.event.occurred_at)}",
        headline=headline,
        quote=said,
        quoted=case.said,
        facts=tuple(decisions),
        paragraphs=paragraphs,
        why=case.why,
        action="See the request",
        url=case.page,
    )


def _approved(case: Case) -> tuple[str, tuple[str, ...]]:
    record = case.record
    rule = case.event.detail.get("by_rule")
    by_rule = f"The rule “{short(str(rule), NAME_MOST)}” approves it without a person. "
    if record.state == State.APPROVED and record.starts_at and record.starts_at > case.now:
        then = (
            f"It starts at {case.clock.at(record.starts_at)}. You get a mail when it is there; its "
            "time runs from then on."
        )
    elif record.state == State.APPROVED:
        then = (
            "It is being made at the target now. You get a mail when it is there; its time runs "
            "from then on."
        )
    elif record.state == State.ACTIVE and record.ends_at is not None:
        then = f"It is there already, until {case.clock.at(record.ends_at)}."
    else:
        then = "It has moved on since; its page says how it stands."
    return (
        f"{case.whose} {case.access} is approved for {case.length}",
        ((by_rule if rule else "") + then,),
    )


def _denied(case: Case) -> tuple[str, tuple[str, ...]]:
    return (
        f"{case.request} was denied by {case.actor}",
        (
            f"No access was made. Talk to {case.actor}, or ask again for what would be right: "
            "shorter, less, or with a better reason.",
        ),
    )


def _cancelled(case: Case) -> tuple[str, tuple[str, ...]]:
    by = "you" if case.event.actor_id == case.to.pk else case.actor
    return (
        f"{case.request} was cancelled by {by}",
        ("No access was made, and nobody is asked any more. Ask again if you need it.",),
    )


def _lapsed(case: Case) -> tuple[str, tuple[str, ...]]:
    name = short(str(case.event.detail.get("level_name", "")), NAME_MOST)
    return (
        f"{case.request} has lapsed: nobody decided in time",
        (
            f"The level {name} stayed silent to its end, so no access was made. If you still need "
            "it, talk to the approvers and ask again.",
        ),
    )
