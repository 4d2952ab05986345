"""Letters about the access itself: there, ending, gone, not made, not removed."""

from datetime import datetime

from approvals.domain.states import EndReason
from approvals.models import AccessRequest
from approvals.selectors import drift, requests, telling
from approvals.services import provisioning, wording
from approvals.services.letters.letter import NAME_MOST, Case, Fact, Letter
from approvals.services.wording import short


def active(case: Case) -> Letter:
    """Say that the access is there, how to use it and until when."""
    record = case.record
    assert record.ends_at is not None
    ends = case.clock.at(record.ends_at)
    steps = provisioning.how_to_connect(record) if case.is_mine else []
    if case.is_mine:
        headline = f"You have {case.access} until {ends}"
        paragraphs = (
            f"At {ends} it is taken away by itself, and open sessions are closed: save your work "
            "before. Give it back on its page when you are done earlier.",
        )
    else:
        headline = f"{case.subject} has {case.access} until {ends}"
        paragraphs = (f"At {ends} it is taken away by itself. You need to do nothing.",)
    return Letter(
        subject=f"Active until {ends}: {case.access}",
        eyebrow=f"Active · ends at {ends}, {case.clock.away(record.ends_at)}",
        headline=headline,
        steps=tuple((step.label, step.text) for step in steps),
        paragraphs=paragraphs,
        why=case.why,
        action="See or give back the access",
        url=case.page,
    )


def ends_soon(case: Case) -> Letter:
    """Say that the access ends soon, and to save what is open."""
    record = case.record
    assert record.ends_at is not None
    ends = case.clock.at(record.ends_at)
    return Letter(
        subject=f"Ends at {ends}: {case.access}",
        eyebrow=f"Ends soon · {case.clock.away(record.ends_at)}",
        headline=f"Your {case.access} ends at {ends}",
        paragraphs=(
            "Save your work and close your sessions now: what is still open then is cut off.",
            "If you need it for longer, ask for more time now. Once that is approved, the access "
            "goes on without a break.",
        ),
        silence="If you do nothing, it ends by itself. That is fine when you are done.",
        why=case.why,
        action="Ask for more time",
        url=case.extension,
    )


_END_WORDS = {
    EndReason.TIME: "Its time ran out",
    EndReason.GIVEN_BACK: "Given back",
    EndReason.REVOKED: "Ended early",
    EndReason.LEFT: "The person left",
    EndReason.RETIRED: "It was retired",
}


def ended(case: Case) -> Letter:
    """Say that the target confirmed the end: when it was due, when it came, what was cut."""
    event = case.event
    ending = requests.ending(event.request_id)
    why = _END_WORDS[EndReason(event.end_reason)]
    if ending is not None and ending.actor_id is not None:
        why += f" by {short(ending.actor_name, NAME_MOST)}"
    assert event.removal_due_at is not None
    assert event.removal_confirmed_at is not None
    facts = [
        Fact("Why", why),
        Fact("Due", case.clock.exactly(event.removal_due_at)),
        Fact("Confirmed", case.clock.exactly(event.removal_confirmed_at)),
        Fact("Lag", wording.lag(event.removal_confirmed_at - event.removal_due_at)),
    ]
    closed = int(event.detail.get("sessions_closed", 0))
    if closed:
        facts.append(Fact("Sessions cut", str(closed)))
    target = short(event.resource_name, NAME_MOST)
    eyebrow = f"Ended · {target} confirmed the removal"
    paragraphs: tuple[str, ...] = ("There is nothing to do. If you need it again, ask again.",)
    if other := (event.detail.get("receipt") or {}).get("covered_by"):
        eyebrow = f"Ended · {other} goes on"
        paragraphs = (
            f"{other} gives the same access at {target}, so it is still there until that ends too.",
        )
    return Letter(
        subject=f"Ended: {case.access}",
        eyebrow=eyebrow,
        headline=f"{case.whose} {case.access} has ended",
        quote=ending.comment if ending is not None else "",
        quoted=f"{short(ending.actor_name, NAME_MOST)} said" if ending is not None else "",
        facts=tuple(facts),
        paragraphs=paragraphs,
        why=case.why,
        action="See what happened",
        url=case.page,
    )


def failed(case: Case) -> Letter:
    """Say that the access could not be made, and why."""
    target = short(case.record.resource_name, NAME_MOST)
    owner = short(case.owner.get_full_name(), NAME_MOST)
    asked = case.to.pk in (case.record.requester_id, case.record.subject_id)
    if asked:
        todo = (
            f"No access was made. {owner}, who owns {target}, was told too; ask again when the "
            "cause is gone."
        )
        if case.to.pk == case.owner.pk:
            todo = "No access was made. You own it: remove the cause, then ask again."
    else:
        todo = (
            f"Remove the cause, then let {case.requester} ask again: this request is over, and "
            "whatever was half made is being removed."
        )
    return Letter(
        subject=f"Not made: {case.access} for {case.subject}",
        eyebrow=f"Failed at {case.clock.at(case.event.occurred_at)}",
        headline=f"{case.whose} {case.access} could not be made",
        quote=case.event.comment,
        quoted="What went wrong",
        paragraphs=(todo,),
        why=case.why,
        action="See what was tried",
        url=case.page,
    )


def stuck(case: Case) -> Letter:
    """Alarm those who can help: the target does not confirm a removal."""
    record = case.record
    target = short(record.resource_name, NAME_MOST)
    due_at = telling.stuck_since(record) or record.occurred_at
    lasted = wording.about(case.now - due_at)
    return Letter(
        subject=f"Removal is stuck: {case.subject} may still have {case.access}",
        eyebrow=f"Removal is stuck · since {case.clock.at(due_at)}, for {lasted}",
        headline=f"{case.subject} may still have {case.access}",
        quote=case.error,
        quoted=f"What {target} said last",
        facts=(
            Fact("Target", target),
            Fact("Was due", case.clock.exactly(due_at)),
            Fact("Tries", f"{telling.failed_removals(record.request_id)} failed", "bad"),
        ),
        paragraphs=(
            f"Mend what the message names. Where it names nothing, look whether {target} is up, "
            "reachable, and still accepts the portal's credentials. The next try then removes the "
            "access.",
            f"If it can't wait: remove the role at {target} by hand. The next try finds that and "
            "confirms it.",
        ),
        silence="The portal goes on trying, at least once an hour, until the target confirms. "
        "You get this alarm once.",
        why=case.why,
        action="See every try",
        url=case.page,
    )


def leftover(case: Case) -> Letter:
    """Alarm those who can help: a target holds access that has ended."""
    record = case.record
    target = short(record.resource_name, NAME_MOST)
    confirmed = record.removal_confirmed_at
    facts = [Fact("Target", target), Fact("Seen again", case.clock.exactly(case.now), "bad")]
    if confirmed is not None:
        facts.insert(1, Fact("Was removed", case.clock.exactly(confirmed)))
    if drift.is_repaired(record):
        todo = "It is being removed again. The page of findings says when the target confirmed it."
    else:
        todo = (
            f"Nothing was changed: {target} is set to report only. Remove it there by hand, or ask "
            "for the access as everybody does."
        )
    return Letter(
        subject=f"Ended, but there: {case.subject} holds {case.access}",
        eyebrow=f"Found at {target} after its end",
        headline=f"{case.subject} holds {case.access}, which has ended",
        facts=tuple(facts),
        paragraphs=(
            todo,
            f"Somebody or something made it at {target} without the portal: a person, a script, a "
            "restored backup. Find out which, or it comes back.",
        ),
        silence="You get this alarm once for this finding.",
        why=case.why,
        action="See its history",
        url=case.page,
    )


def missing(case: Case) -> Letter:
    """Tell those who can help: a target lacks access that is active."""
    record = case.record
    target = short(record.resource_name, NAME_MOST)
    if drift.is_repaired(record):
        todo = f"It is being made once more, until its end as before. {case.subject} waits for it."
    else:
        todo = (
            f"Nothing was changed: {target} is set to report only. End the access in the portal if "
            "it was taken away on purpose."
        )
    return Letter(
        subject=f"Active, but not there: {case.access} for {case.subject}",
        eyebrow=f"Not found at {target}",
        headline=f"{target} lacks {case.whose.lower() if case.is_mine else case.whose} "
        f"{case.access}, which is active",
        facts=(Fact("Target", target), Fact("Ends", case.clock.exactly(_end(record)))),
        paragraphs=(
            todo,
            f"Somebody or something took it away at {target} without the portal. To take access "
            "away for good, end it in the portal.",
        ),
        silence="You get this alarm once for this finding.",
        why=case.why,
        action="See its history",
        url=case.page,
    )


def _end(record: AccessRequest) -> datetime:
    return record.ends_at or record.occurred_at
