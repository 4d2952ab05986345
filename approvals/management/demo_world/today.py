"""What waits today: requests made now, whose mails and deadlines are real."""

from contextlib import suppress
from datetime import datetime, timedelta

from approvals.domain.refusals import NotAllowed
from approvals.management.demo_world import words
from approvals.models import AccessRequest, Entitlement, User
from approvals.services import passing, questions, requests


def ask(
    *, cast: dict[str, User], entitlements: dict[str, Entitlement], now: datetime
) -> list[AccessRequest]:
    """Send requests that wait for bob, carol and erin; the last one escalates within minutes."""

    def send(who: str, what: str, minutes: int, reason: str, ticket: str = "") -> AccessRequest:
        return requests.submit(
            actor=cast[who],
            subject=cast[who],
            entitlement=entitlements[what],
            duration=timedelta(minutes=minutes),
            reason=reason,
            ticket=ticket,
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
    return [for_bob, for_carol, for_erin, handed, escalating]
