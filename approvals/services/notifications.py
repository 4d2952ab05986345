"""The only room that talks to people: turns what waits in the outbox into mails, each sent once.

No transaction is open while a mail server is called. A person gets a notice once: it is sent under
a lock of its key, and the append-only `Notice` row says that it was. Only a crash between the
server's answer and that row can repeat one, under the same Message-ID. A notice that is not true
any more is not sent.
"""

import hashlib
import textwrap
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.template.loader import render_to_string

from approvals.channels import email
from approvals.domain.states import State
from approvals.models import AccessRequest, Notice, OutboxItem, User
from approvals.selectors import chains, requests, telling
from approvals.services import letters, recording, wording

log = structlog.get_logger(__name__)

Attachment = email.Attachment
DeliveryFailed = email.DeliveryFailed
leaves_the_machine = email.leaves_the_machine

#: Kinds that ask for a decision.
ASKING = frozenset({"approval_needed", "reminder", "escalated"})
#: Kinds that say where a pending request stands.
_PENDING = ASKING | {"moved_on", "level_done"}
#: A mail that no server takes for so long is given up, with an error in the log.
GIVE_UP_AFTER = timedelta(days=3)
_TEXT_WIDTH = 72


def send(item: OutboxItem, now: datetime) -> None:
    """Send one notice, unless it was sent, is not true any more, or has nobody to go to.

    May run twice and side by side. Raises: email.DeliveryFailed, to be tried again later.
    """
    assert recording.no_transaction(), "a transaction is open, and the network must not hold one"
    with _alone(item.payload["once_key"]):
        _send(item, now)


def _send(item: OutboxItem, now: datetime) -> None:
    payload = item.payload
    kind, request_id = payload["kind"], uuid.UUID(payload["request_id"])
    fields = {"kind": kind, "request": str(request_id), "recipient": payload["recipient"]}
    person = telling.recipient(payload["recipient"])
    if person is None or not person.is_active or not person.email:
        log.info("notice.nobody", **fields)
        return
    told = telling.told(request_id, person=person.pk)
    if any(row.once_key == payload["once_key"] for row in told):
        return
    facts = telling.facts(request_id, revision=payload["revision"])
    if facts is None:
        log.error("notice.no_request", **fields)
        return
    view = None
    if kind in _PENDING and facts.record.state == State.PENDING:
        view = chains.load(facts.record, now=now)
    if reason := _outdated(item, facts, view, person, told, now):
        log.info("notice.outdated", reason=reason, **fields)
        return
    if item.first_failed_at is not None and now - item.first_failed_at > GIVE_UP_AFTER:
        log.error("notice.given_up", error=item.last_error, **fields)
        return
    letter = letters.write(
        letters.Case(
            kind=kind,
            to=person,
            event=facts.event,
            record=facts.record,
            owner=facts.owner,
            view=view,
            now=now,
            error=payload.get("error", ""),
        )
    )
    text, html = render(letter, to=person, reference=facts.record.reference)
    email.send(
        email.Message(
            address=person.email,
            subject=letter.subject,
            text=text,
            html=html,
            message_id=_message_id(payload["once_key"]),
            thread_id=_message_id(str(request_id)),
        )
    )
    _record(item.payload, person, letter, now)


def deliver(
    *,
    kind: str,
    letter: letters.Letter,
    to: User,
    once_key: str,
    thread: str,
    reference: str,
    now: datetime,
    attachments: tuple[Attachment, ...] = (),
    also: Callable[[str], object] = lambda _: None,
) -> bool:
    """Send a letter that is about no request, once for its key; return whether it went now.

    `also` is called with the Message-ID in the transaction that records the notice. Raises:
    DeliveryFailed, to be tried again later.
    """
    assert recording.no_transaction(), "a transaction is open, and the network must not hold one"
    with _alone(once_key):
        if telling.was_told(once_key):
            return False
        text, html = render(letter, to=to, reference=reference)
        message_id = _message_id(once_key)
        email.send(
            email.Message(
                address=to.email,
                subject=letter.subject,
                text=text,
                html=html,
                message_id=message_id,
                thread_id=_message_id(thread),
                attachments=attachments,
            )
        )
        said = {"kind": kind, "once_key": once_key}
        with transaction.atomic():
            _record(said, to, letter, now)
            also(message_id)
    return True


def _outdated(
    item: OutboxItem,
    facts: telling.Facts,
    view: chains.ChainView | None,
    person: User,
    told: Sequence[telling.Told],
    now: datetime,
) -> str | None:
    """Return why the notice would not be true now, or None."""
    kind, event, record = item.payload["kind"], facts.event, facts.record
    if kind in ASKING or kind == "moved_on":
        if view is None or view.progress.state != "pending":
            return "not pending any more"
        if kind in ASKING and person.pk not in view.electorate:
            return "not asked any more"
        if kind == "reminder" and any(
            row.kind in ASKING and row.at >= item.created_at for row in told
        ):
            return "told since"
        if kind == "moved_on" and record.level != event.level:
            return "not at that level any more"
    elif kind in ("active", "missing") and record.state != State.ACTIVE:
        return "not active any more"
    elif kind == "ends_soon" and (
        record.state != State.ACTIVE
        or record.ends_at is None
        or record.ends_at != event.ends_at
        or record.ends_at <= now
    ):
        return "not active any more, or it ends at another time"
    elif kind == "ends_soon" and _goes_on(record):
        return "it goes on: an extension is approved"
    elif kind == "stuck" and record.state != State.REVOKING:
        return "removed by now"
    return None


def _goes_on(record: AccessRequest) -> bool:
    extension = requests.extension_of(record.request_id)
    return extension is not None and extension.state == State.APPROVED


def render(letter: letters.Letter, *, to: User, reference: str) -> tuple[str, str]:
    """Return the letter as text and as HTML."""
    quote = wording.clean(letter.quote)
    context = {
        "letter": letter,
        "quote": quote,
        "zone": str(letters.zone(to)),
        "reference": reference,
        "portal_url": settings.PORTAL_URL,
    }
    lines = {
        "quote_lines": _quoted(quote),
        "fact_lines": _aligned(letter.facts),
        "step_lines": [(label, text.splitlines()) for label, text in letter.steps],
        "wrapped": [_wrapped(text) for text in letter.paragraphs],
    }
    text = render_to_string("mail/letter.txt", context | lines)
    return text.strip() + "\n", render_to_string("mail/letter.html", context)


def _wrapped(text: str, first: str = "", rest: str = "") -> str:
    """Return the text in lines of mail; words that are longer, such as addresses, stay whole."""
    return textwrap.fill(
        text,
        _TEXT_WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _quoted(text: str) -> list[str]:
    """Return what somebody wrote with a mark before every line, so that it can't pass as ours."""
    return [_wrapped(line, "> ", "> ") if line.strip() else ">" for line in text.splitlines()]


def _aligned(facts: Sequence[letters.Fact]) -> list[str]:
    width = max((len(fact.label) for fact in facts), default=0) + 2
    return [
        _wrapped(fact.value, f"{fact.label}:".ljust(width + 1), " " * (width + 1)) for fact in facts
    ]


def _message_id(key: str) -> str:
    """Return the Message-ID for a key: the same whenever the same thing is sent (RFC 5322)."""
    host = urlsplit(settings.PORTAL_URL).hostname or "localhost"
    try:
        address = ip_address(host)
        host = f"[{'IPv6:' if address.version == 6 else ''}{address}]"
    except ValueError:
        pass
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@{host}>"


@contextmanager
def _alone(once_key: str) -> Iterator[None]:
    """Let one process at a time send this notice; another waits, and then finds it sent.

    A lock of the session, not of a transaction: a dead process loses it with its connection.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 3))", [once_key])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 3))", [once_key])


def _record(payload: dict[str, Any], person: User, letter: letters.Letter, now: datetime) -> None:
    about = payload.get("request_id")
    try:
        with transaction.atomic():
            Notice(
                request_id=uuid.UUID(about) if about else None,
                kind=payload["kind"],
                channel="email",
                recipient=person,
                recipient_name=person.get_full_name(),
                address=person.email,
                subject_line=letter.subject,
                once_key=payload["once_key"],
                occurred_at=now,
            ).save()
    except IntegrityError as error:
        name = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None) or ""
        if "once_key" not in name:
            raise
        log.warning("notice.twice", kind=payload["kind"], recipient=person.pk)
