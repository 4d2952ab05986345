"""Letters about the ledger, which are about no request: its checkpoint to keep, and its alarms."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from approvals.models import User
from approvals.services import wording
from approvals.services.letters.letter import SUBJECT_MOST, Fact, Letter, zone
from approvals.services.wording import short


@dataclass(frozen=True, kw_only=True)
class CheckpointCase:
    """A checkpoint for one reader. `note` is what the log alone signed, `file` the attachment."""

    to: User
    now: datetime
    origin: str
    size: int
    signed_at: datetime
    note: str
    file: str
    cosigners: int
    is_outside: bool = False

    @property
    def why(self) -> str:
        """Return why the reader gets it."""
        if self.is_outside:
            return "You get this because this address is configured as an outside auditor's."
        return "You get this because you are a compliance admin of this portal."


def checkpoint(case: CheckpointCase) -> Letter:
    """Hand over the checkpoint, and say what it is good for in three sentences."""
    clock = wording.Clock(zone(case.to), case.now)
    signed = f"{clock.exactly(case.signed_at)}"
    by = f"the log and {case.cosigners} of its witnesses" if case.cosigners else "the log"
    return Letter(
        subject=short(f"Keep this: checkpoint of {case.size} entries", SUBJECT_MOST),
        eyebrow=f"Ledger · signed at {signed}",
        headline=f"The ledger had {case.size} entries at {signed}",
        facts=(
            Fact("Log", short(case.origin, 200)),
            Fact("Entries", str(case.size)),
            Fact("Signed by", by),
        ),
        steps=((f"The checkpoint, as in {case.file}", case.note.rstrip("\n")),),
        paragraphs=(
            "Keep this mail where the portal's administrators can't change it. You need to do "
            "nothing else.",
            "To check the history later: have the ledger exported, download the offline verifier "
            f"from the ledger's page, and run it as `python verifier.py export DIR --old "
            f"{case.file}`.",
            "It succeeds only if everything that this checkpoint vouches for is still there, "
            "unchanged. If it fails, the history was changed after this mail.",
        ),
        silence="Each such mail is worth keeping; the newest one vouches for the most.",
        why=case.why,
        action="See the newest checkpoint" if case.is_outside else "Open the ledger's page",
        url=f"{settings.PORTAL_URL}/{'ledger/checkpoint' if case.is_outside else 'audit/'}",
    )


@dataclass(frozen=True, kw_only=True)
class AlarmCase:
    """An alarm about the ledger for one reader. `began_at` is when its episode began."""

    to: User
    now: datetime
    text: str
    began_at: datetime

    @property
    def clock(self) -> wording.Clock:
        """Return the reader's clock."""
        return wording.Clock(zone(self.to), self.now)

    @property
    def url(self) -> str:
        """Return the page that shows the ledger's state."""
        return f"{settings.PORTAL_URL}/audit/"

    @property
    def why(self) -> str:
        """Return why the reader gets it."""
        if self.to.is_operator:
            return "You get this because you are an operator of this portal."
        return "You get this because you are a compliance admin of this portal."


def stale(case: AlarmCase) -> Letter:
    """Alarm operators: what happens is recorded, but not sealed."""
    return Letter(
        subject="The ledger is not being sealed",
        eyebrow=f"Ledger · since {case.clock.exactly(case.began_at)}",
        headline="New records are not being sealed into the ledger",
        quote=case.text,
        quoted="What was found",
        paragraphs=(
            "The portal goes on working and records everything, but until it is sealed a database "
            "administrator could change it unnoticed.",
            "Look whether a process `manage.py ledger_seal` runs, and for `sealer.failed` in its "
            "log: the message says what to mend. What waits is then sealed by itself.",
        ),
        silence="You get this alarm once, and another mail when it is over.",
        why=case.why,
        action="See the ledger's state",
        url=case.url,
    )


def fresh(case: AlarmCase) -> Letter:
    """Tell operators that the ledger keeps up again."""
    return Letter(
        subject="Over: the ledger is being sealed again",
        eyebrow=f"Ledger · it had stood since {case.clock.exactly(case.began_at)}",
        headline="The ledger keeps up again",
        paragraphs=(
            "Everything that had waited is sealed. There is nothing to do; the log of the sealer "
            "says what had held it up.",
        ),
        why=case.why,
        action="See the ledger's state",
        url=case.url,
    )


def forked(case: AlarmCase) -> Letter:
    """Alarm operators and compliance: somebody outside holds another history."""
    return Letter(
        subject="Alarm: an outside holder contradicts the ledger",
        eyebrow=f"Ledger · since {case.clock.exactly(case.began_at)}",
        headline="An outside holder holds a history that this log did not grow from",
        quote=case.text,
        quoted="What the holder answered",
        paragraphs=(
            "Either the portal's database was restored from a backup, or its history was changed. "
            "Find out which before anything else is changed: keep the database as it is, and copy "
            "it.",
            "Compare with a checkpoint that was mailed earlier: export the ledger and run "
            "`python verifier.py export DIR --old CHECKPOINT`.",
        ),
        silence="You get this alarm once, and another mail when it is over.",
        why=case.why,
        action="See the outside holders",
        url=case.url,
    )


def agreed(case: AlarmCase) -> Letter:
    """Tell that no holder contradicts any more, which does not say that nothing was wrong."""
    return Letter(
        subject="Over: no outside holder contradicts the ledger any more",
        eyebrow=f"Ledger · the contradiction was since {case.clock.exactly(case.began_at)}",
        headline="No outside holder contradicts the ledger any more",
        paragraphs=(
            "If you don't know what it came from, keep looking: a holder may have been reset, or "
            "taken out of the policy.",
        ),
        why=case.why,
        action="See the outside holders",
        url=case.url,
    )


def damaged(case: AlarmCase) -> Letter:
    """Alarm operators and compliance: the database is not what was sealed."""
    return Letter(
        subject="Alarm: records are not what the ledger sealed",
        eyebrow=f"Ledger · found at {case.clock.exactly(case.began_at)}",
        headline="Verification found records that were changed, added or removed",
        quote=case.text,
        quoted="What was found first",
        paragraphs=(
            "The application can't do this: somebody with more rights on the database did, or its "
            "storage is damaged. Keep the database as it is, and copy it, before anything is "
            "mended.",
            "`manage.py ledger_verify` names every record. What the portal shows of those named "
            "here is not evidence until that is explained.",
        ),
        silence="You get this alarm once, and another mail when it is over.",
        why=case.why,
        action="See the last verification",
        url=case.url,
    )


def whole(case: AlarmCase) -> Letter:
    """Tell that a later verification found nothing, which does not explain the earlier one."""
    return Letter(
        subject="Over: the last verification found nothing wrong",
        eyebrow=f"Ledger · the problems were found at {case.clock.exactly(case.began_at)}",
        headline="The last verification found nothing wrong",
        paragraphs=(
            "If you don't know what the problems came from, keep looking: whoever could change "
            "records could also change them back.",
        ),
        why=case.why,
        action="See the last verification",
        url=case.url,
    )
