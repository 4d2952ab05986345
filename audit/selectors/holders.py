"""Outside holders of checkpoints: who is configured, what they hold, and which are alive.

Asking them is `audit.services`. What an outside holder's row says counts only after its evidence
was verified again (`evidence`), and by the time that the database gave it, since rows can be added
by whoever has the application's rights.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import QuerySet

from audit.domain import checkpoint as checkpoints
from audit.domain import cosignature, note
from audit.domain import policy as policies
from audit.domain.lines import Malformed
from audit.domain.policy import Policy
from audit.models import Checkpoint, Holding, Log
from audit.selectors import evidence
from audit.selectors import log as reads

#: Cosigned sizes that are looked at for one that satisfies the quorum; rows, for one that counts.
LOOK_BACK = 500
#: A holder is late when it took nothing for so many of its intervals, and there is something new.
LATE_AFTER_INTERVALS = 2
MAILBOXES = "Mail to compliance"
#: How the names of outside auditors begin, in rows.
AUDITOR = "auditor-"
#: Where a row's detail keeps the note that its evidence is of.
NOTE = "note"


class PolicyUnreadable(Exception):
    """The file of LEDGER_WITNESSES can't be used; the message says why."""


class State(StrEnum):
    """What is shown of a holder. Only ALIVE counts as a holder outside."""

    ALIVE = "alive"
    LATE = "late"
    NEVER = "never"
    FAILING = "failing"
    FORK = "fork"
    UNVERIFIED = "unverified"
    INSIDE = "inside"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Holder:
    """A configured holder. `last_at` and `size` are of the last checkpoint that it took."""

    name: str
    kind: str
    state: State
    last_at: datetime | None = None
    size: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint that the policy's quorum has cosigned, and its note with the cosignatures."""

    checkpoint: Checkpoint
    note: bytes


def policy(log: Log | None) -> Policy:
    """Return the trust policy of LEDGER_WITNESSES, with the log's own key; else an empty one.

    Raises: PolicyUnreadable.
    """
    made = Policy()
    if settings.LEDGER_WITNESSES:
        try:
            made = policies.read(Path(settings.LEDGER_WITNESSES).read_bytes())
        except (OSError, Malformed, cosignature.Unsupported) as error:
            raise PolicyUnreadable(f"LEDGER_WITNESSES can't be used: {error}") from error
    if log is not None:
        key = cosignature.read_key(log.vkey)
        if all((key.name, key.public) != (it.key.name, it.key.public) for it in made.logs):
            made.logs.append(policies.Log(key))
    return made


def authorities() -> dict[str, str]:
    """Return the configured timestamp authorities: address by name, which holds no password."""
    found: dict[str, str] = {}
    for url in settings.LEDGER_TSA_URLS:
        parts = urlsplit(url)
        name = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
        found.setdefault(name.rstrip("/") or url, url)
    return found


def auditors() -> dict[str, str]:
    """Return the outside auditors' addresses by what rows call them, which does not say these.

    Rows stay for ever, and an address may have to be erased.
    """
    return {
        AUDITOR + sha256(address.lower().encode()).hexdigest()[:16]: address
        for address in settings.LEDGER_MAIL_TO
    }


def newest(log: Log, *, kind: str, holder: str) -> Holding | None:
    """Return what was last written down of a holder and this log, of what counts."""
    return _counted(_of(log, kind, holder), judge(log))


def newest_taken(log: Log, *, kind: str, holder: str) -> Holding | None:
    """Return the last checkpoint of this log that a holder took, as its evidence shows."""
    return _counted(_of(log, kind, holder).filter(state__in=Holding.TOOK), judge(log))


def largest_timestamped(log: Log, authority: str, *, most: int) -> Holding | None:
    """Return the token of the largest checkpoint, of `most` leaves at most, that an authority gave.

    However many rows that don't count stand before it.
    """
    says = judge(log)
    rows = Holding.objects.filter(
        log=log, kind=Holding.Kind.TIMESTAMP, holder=authority, size__lte=most,
        state__in=Holding.TOOK,
    ).order_by("-size", "-id")  # fmt: skip
    return next((row for row in rows.iterator() if says.counts(row)), None)


def judge(log: Log) -> evidence.Judge:
    """Return who says which rows of this log count, by today's policy and certificates."""
    try:
        keys = {name: it.key for name, it in policy(None).witnesses.items()}
    except PolicyUnreadable:
        keys = {}
    return evidence.Judge(reads.newest_checkpoint(log), keys)


def _of(log: Log, kind: str, holder: str) -> QuerySet[Holding]:
    return Holding.objects.filter(log=log, kind=kind, holder=holder).order_by("-id")


def _counted(rows: QuerySet[Holding], judge: evidence.Judge) -> Holding | None:
    """Return the first row that counts; none where too many don't, so that it is asked again."""
    return next((row for row in rows[:LOOK_BACK] if judge.counts(row)), None)


# -- cosigned checkpoints


def cosigned_note(checkpoint: Checkpoint) -> bytes:
    """Return the checkpoint's note with the newest cosignature of each witness for its size.

    Only cosignatures that verify by the policy of today are added: with a wrong one, everybody
    who knows that witness would have to refuse the note.
    """
    message = bytes(checkpoint.note)
    rows = Holding.objects.filter(
        log=checkpoint.log_id,
        size=checkpoint.size,
        kind=Holding.Kind.WITNESS,
        state=Holding.State.HELD,
    ).order_by("id")
    lines = [bytes(line) for line in rows.values_list("evidence", flat=True)]
    if not lines:
        return message
    try:
        keys = [it.key for it in policy(None).witnesses.values()]
    except PolicyUnreadable:
        return message
    text = note.read(message).text
    found = [it for line in lines for it in evidence.cosignatures(line, text, keys)]
    return checkpoints.cosigned(message=message, signatures=found)


def last_cosigned(log: Log) -> Cosigned | None:
    """Return the newest checkpoint that satisfies the policy's quorum; None while none does.

    Raises: PolicyUnreadable.
    """
    trust = policy(log)
    if trust.satisfied(trust.quorum, cosigners=set()):
        checkpoint = reads.newest_checkpoint(log)
        return Cosigned(checkpoint, cosigned_note(checkpoint)) if checkpoint else None
    sizes = (
        Holding.objects.filter(log=log, kind=Holding.Kind.WITNESS, state=Holding.State.HELD)
        .order_by("-size")
        .values_list("size", flat=True)
        .distinct()[:LOOK_BACK]
    )
    for size in sizes:
        checkpoint = Checkpoint.objects.filter(log=log, size=size).first()
        if checkpoint is None:
            continue
        message = cosigned_note(checkpoint)
        try:
            trust.trusted(message)
        except (policies.QuorumMissed, note.Untrusted, note.BadSignature, Malformed):
            continue
        return Cosigned(checkpoint, message)
    return None


# -- what holders vouch for


def vouched(log: Log, key: note.LogKey) -> list[tuple[str, bytes]]:
    """Return the newest note that each holder vouches for by its own evidence, and its name.

    The note is the one that the row kept, whatever checkpoints the database has now.
    """
    found: list[tuple[str, bytes]] = []
    try:
        names = [(Holding.Kind.WITNESS, name) for name in policy(None).witnesses]
    except PolicyUnreadable:
        names = []
    names += [(Holding.Kind.TIMESTAMP, name) for name in authorities()]
    says = judge(log)
    for kind, name in names:
        for row in _of(log, kind, name).filter(state=Holding.State.HELD)[:LOOK_BACK]:
            message = str(row.detail.get(NOTE, "")).encode()
            if _is_signed(message, key, row.size) and says.shows(row, message):
                found.append((name, message))
                break
    return found


def _is_signed(message: bytes, key: note.LogKey, size: int) -> bool:
    try:
        return checkpoints.open_verified(message=message, log=key).size == size
    except (Malformed, note.BadSignature, note.Untrusted):
        return False


# -- who is alive


def alive(now: datetime) -> list[Holder]:
    """Return every configured holder with its state, also those that never answered."""
    log = reads.current()
    last = reads.newest_checkpoint(log) if log else None
    names: list[tuple[Holding.Kind, str]] = []
    broken: list[Holder] = []
    try:
        names += [(Holding.Kind.WITNESS, n) for n, it in policy(None).witnesses.items() if it.url]
    except PolicyUnreadable as error:
        broken.append(
            Holder("LEDGER_WITNESSES", Holding.Kind.WITNESS, State.MISCONFIGURED, error=str(error))
        )
    names += [(Holding.Kind.TIMESTAMP, name) for name in authorities()]
    if log is None:
        silent = [Holder(name, kind, State.NEVER) for kind, name in names]
        boxes = [MAILBOXES, *auditors().values()]
        return [*broken, *silent, *(Holder(n, Holding.Kind.MAIL, State.NEVER) for n in boxes)]
    asked = [_holder(log, last, kind, name, now=now) for kind, name in names]
    outside = [_auditor(log, name, address, now=now) for name, address in auditors().items()]
    return [*broken, *asked, _mailboxes(log, now=now), *outside]


def any_alive(now: datetime) -> bool:
    """Return whether at least one holder outside has lately taken a checkpoint, as far as known."""
    return any(holder.state == State.ALIVE for holder in alive(now))


def _holder(
    log: Log, last: Checkpoint | None, kind: Holding.Kind, name: str, *, now: datetime
) -> Holder:
    said = newest(log, kind=kind, holder=name)
    taken = newest_taken(log, kind=kind, holder=name)
    at, size = (taken.recorded_at, taken.size) if taken else (None, None)
    if said is None:
        state = State.NEVER
    elif said.state == Holding.State.FORK:
        state = State.FORK
    elif said.state not in Holding.TOOK:
        state = State.FAILING
    elif (last is None or said.size < last.size) and _late(said, settings.LEDGER_HOLD, now=now):
        state = State.LATE
    else:
        state = _SHOWN[Holding.State(said.state)]
    return Holder(name, kind, state, at, size, said.error if said else "")


def _auditor(log: Log, name: str, address: str, *, now: datetime) -> Holder:
    """Return an outside auditor's mailbox, by the address that it is configured with."""
    said = newest(log, kind=Holding.Kind.MAIL, holder=name)
    taken = newest_taken(log, kind=Holding.Kind.MAIL, holder=name)
    if said is None:
        return Holder(address, Holding.Kind.MAIL, State.NEVER)
    if said.state not in Holding.TOOK:
        state = State.FAILING
    elif _late(said, settings.LEDGER_MAIL, now=now):
        state = State.LATE
    else:
        state = _SHOWN[Holding.State(said.state)]
    at, size = (taken.recorded_at, taken.size) if taken else (None, None)
    return Holder(address, Holding.Kind.MAIL, state, at, size, said.error)


def _mailboxes(log: Log, *, now: datetime) -> Holder:
    """Return all mailboxes as one holder: it lives while one of them does."""
    last = reads.newest_checkpoint(log)
    rows = list(
        Holding.objects.filter(log=log, kind=Holding.Kind.MAIL, size__lte=last.size if last else 0)
        .exclude(holder__startswith=AUDITOR)
        .order_by("holder", "-id")
        .distinct("holder")
    )
    every = settings.LEDGER_MAIL
    taken = max((r for r in rows if r.state in Holding.TOOK), key=_moment, default=None)
    failed = max((r for r in rows if r.state not in Holding.TOOK), key=_moment, default=None)
    fresh = taken is not None and not _late(taken, every, now=now)
    if taken is not None and fresh:
        state = _SHOWN[Holding.State(taken.state)]
    elif failed is not None:
        state = State.FAILING
    else:
        state = State.LATE if taken is not None else State.NEVER
    shown = failed is not None and not (fresh and _late(failed, every, now=now))
    return Holder(
        MAILBOXES,
        Holding.Kind.MAIL,
        state,
        taken.recorded_at if taken else None,
        taken.size if taken else None,
        failed.error if failed is not None and shown else "",
    )


def _moment(row: Holding) -> datetime:
    assert row.recorded_at is not None
    return row.recorded_at


def _late(row: Holding, every: timedelta, *, now: datetime) -> bool:
    return now - _moment(row) > every * LATE_AFTER_INTERVALS


_SHOWN = {
    Holding.State.HELD: State.ALIVE,
    Holding.State.UNVERIFIED: State.UNVERIFIED,
    Holding.State.INSIDE: State.INSIDE,
}
