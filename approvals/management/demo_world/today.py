"""What waits today: requests made now or within the last hour, whose deadlines are real."""

from contextlib import suppress
from datetime import datetime, timedelta

from approvals.domain.refusals import NotAllowed
from approvals.management.demo_world import words
from approvals.models import AccessRequest, Entitlement, User
from approvals.services import escalation, passing, questions, requests

#: How long ago the request was sent that nobody has answered in time.
LATE = timedelta(minutes=50)
#: How long after its deadline the clock's work was done.
_TICK = timedelta(milliseconds=20)


def ask_early(
    *, cast: dict[str, User], entitlements: dict[str, Entitlement], now: datetime
) -> AccessRequest:
    """Send the request that bob has left lying: its time was up, and erin is asked as well.

    It was sent `LATE` before `now`, so that the demo begins with something that is overdue.
    """
    sent = requests.submit(
        actor=cast["marta"],
        subject=cast["marta"],
        entitlement=entitlements["read"],
        duration=timedelta(hours=24),
        reason="Follow the refunds of the weekend until the last one is booked.",
        ticket="PAY-2926",
        now=now - LATE,
    )
    assert sent.due_at is not None
    (escalated,) = escalation.advance(sent.request_id, now=sent.due_at + _TICK)
    return escalated


def ask(
    *, cast: dict[str, User], entitlements: dict[str, Entitlement], now: datetime
) -> list[AccessRequest]:
    """Send requests that wait for bob, carol and erin; the last one escalates within minutes.

    Bob gets some of each risk, and most of them wait for hours.
    """

    def send(
        who: str,
        what: str,
        minutes: int,
        reason: str,
        ticket: str = "",
        starts_at: datetime | None = None,
    ) -> AccessRequest:
        return requests.submit(
            actor=cast[who],
            subject=cast[who],
            entitlement=entitlements[what],
            duration=timedelta(minutes=minutes),
            reason=reason,
            ticket=ticket,
            starts_at=starts_at,
            now=now,
        )

    for_bob = send(
        "tariq", "owner", 60,
        "Add the column for the new return reasons before Thursday's release.", "PAY-2931",
    )  # fmt: skip
    questions.ask(
        actor=cast["bob"], request_id=for_bob.request_id, text=words.QUESTION_TODAY, now=now
    )
    with suppress(NotAllowed):  # as whoever finds the address of the form might try
        requests.decide(
            actor=cast["tariq"],
            request_id=for_bob.request_id,
            verdict="approve",
            seen_revision=for_bob.revision,
            comment=words.OWN_TODAY,
            now=now,
        )
    more_for_bob = [
        send(
            "yuki", "owner", 60,
            "Drop the partition of 2019, which retention says must go; in tonight's quiet hour.",
            "PAY-2933", (now + timedelta(hours=7)).replace(minute=0, second=0, microsecond=0),
        ),
        send(
            "tariq", "report-reader", 240,
            "Check how long removals took after the maintenance, for our postmortem.", "PAY-2918",
        ),
        send(
            "yuki", "read", 2880,
            "Watch the nightly imports of tomorrow and the day after.", "PAY-2937",
        ),
    ]  # fmt: skip
    for_carol = send(
        "nadia", "owner", 90,
        "Rebuild the bloated orders_customer index in the quiet hour.", "OPS-877",
    )  # fmt: skip
    for_carol = requests.decide(
        actor=cast["ingrid"],
        request_id=for_carol.request_id,
        verdict="approve",
        seen_revision=for_carol.revision,
        comment="Agreed for tonight, Diego stands by.",
        now=now,
    )
    for_erin = send(
        "liam", "report-reader", 480,
        "Prepare evidence for the quarterly review of privileged access.",
    )  # fmt: skip
    handed = send(
        "diego", "report-reader", 120,
        "Answer the auditors' questions about last quarter's refunds.",
    )  # fmt: skip
    passing.hand_over(
        actor=cast["erin"],
        request_id=handed.request_id,
        to=cast["carol"],
        comment=words.HANDED_TODAY,
        seen_revision=handed.revision,
        now=now,
    )
    escalating = send(
        "marta",
        "read-write",
        30,
        "Set order 317 back to “paid” so that it ships today.",
        "PAY-2940",
    )
    return [for_bob, *more_for_bob, for_carol, for_erin, handed, escalating]
