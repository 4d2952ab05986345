"""The only room that talks to people: hands what waits in the outbox to channels, each once.

First to the portal's notice centre, then to those that reach people where they are, as they chose:
at once, after quiet hours, in a digest or not at all. No transaction is open while a mail server is
called. A person gets a notice once by each channel, and a channel that takes nothing keeps it from
no other: it is sent under a lock of its key, and the
append-only `Notice` row says that it was. Only a crash between the server's answer and that row can
repeat one, under the same Message-ID. A notice that is not true any more is not sent.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction

from approvals.channels import email, portal, registry
from approvals.channels.protocol import Attachment, Attempts, Channel, DeliveryFailed, Message
from approvals.domain.notices import ASKING, QUESTIONS, SETTLING, Chosen, Mode, sort_of
from approvals.domain.states import State
from approvals.models import AccessRequest, Notice, OutboxItem, RequestHandover, User
from approvals.outbox import queue
from approvals.selectors import chains, handing_over, noticing, requests, telling
from approvals.services import letters, notice_centre, recording, rendering

log = structlog.get_logger(__name__)

__all__ = ["Attachment", "DeliveryFailed", "deliver", "leaves_the_machine", "render", "send"]

leaves_the_machine = email.leaves_the_machine
render = rendering.render

#: Kinds that say where a pending request stands.
_PENDING = ASKING | {"moved_on", "level_done"}
#: A mail that no server takes for so long is given up, with an error in the log.
GIVE_UP_AFTER = timedelta(days=3)


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
    if person is None or not person.is_active:
        log.info("notice.nobody", **fields)
        return
    told = telling.told(request_id, person=person.pk)
    known = {row.once_key for row in told}
    channels = [
        (channel, address)
        for channel in registry.CHANNELS
        if telling.key(channel.NAME, payload["once_key"]) not in known
        and (address := channel.address(person)) is not None
    ]
    if not channels:
        return
    facts = telling.facts(request_id, revision=payload["revision"])
    if facts is None:
        log.error("notice.no_request", **fields)
        return
    view = None
    if kind in _PENDING and facts.record.state == State.PENDING:
        view = chains.load(facts.record, now=now)
    elif kind in SETTLING:
        notice_centre.settle(request_id, now=now)
        if facts.record.state != State.PENDING:
            notice_centre.settle_questions(request_id, now=now)
    number = payload.get("number")
    exchange = telling.exchange(request_id, number=int(number)) if number else None
    chosen = noticing.chosen(person)
    notice: _Notice | None = None
    comes: bool | None = None  # judged once: what is put off is put off once, for all channels
    attempts = Attempts()
    for channel, address in channels:
        before = [row for row in told if row.channel == channel.NAME]
        if reason := _outdated(item, facts, view, person, before, now, exchange):
            log.info("notice.outdated", reason=reason, channel=channel.NAME, **fields)
            continue
        if channel.INTERRUPTS and comes is None:
            comes = _comes_now(item, person, chosen, now)
        if channel.INTERRUPTS and not comes:
            log.info("notice.not_now", channel=channel.NAME, **fields)
        elif channel.INTERRUPTS and _is_given_up(item, now):
            log.error("notice.given_up", error=item.last_error, **fields)
        else:
            notice = notice or _write(item, facts, view, person, now, exchange)
            with attempts.one():
                _hand_over(channel, address, notice, person, chosen=chosen, now=now)
    attempts.finish()


def _comes_now(item: OutboxItem, person: User, chosen: Chosen, now: datetime) -> bool:
    """Return whether a notice reaches a person where they are; see to it that it does later.

    What is in the centre waits for its digest from the moment it entered. What was put off because
    of quiet hours is judged again when they end, by what is chosen then.
    """
    kind, once_key = item.payload["kind"], item.payload["once_key"]
    mode = chosen.mode(sort_of(kind))
    if mode is not Mode.NOW:
        if mode is Mode.DIGEST and item.payload.get("put_off"):
            key = telling.key(portal.NAME, once_key)
            notice_centre.wait_for_digest(key, person_id=person.pk, chosen=chosen, now=now)
        return False
    until = chosen.may_come_at(kind, now=now)
    if until <= now:
        return True
    with transaction.atomic():
        queue.put(
            topic=item.topic,
            lane=item.lane,
            payload=item.payload | {"put_off": True},
            now=now,
            not_before=until,
        )
    return False


def _is_given_up(item: OutboxItem, now: datetime) -> bool:
    return item.first_failed_at is not None and now - item.first_failed_at > GIVE_UP_AFTER


@dataclass(frozen=True, kw_only=True)
class _Notice:
    """A notice in words, ready for any channel."""

    kind: str
    once_key: str
    thread: str
    letter: letters.Letter
    text: str
    html: str
    request_id: uuid.UUID | None = None
    attachments: tuple[Attachment, ...] = ()


def _write(
    item: OutboxItem,
    facts: telling.Facts,
    view: chains.ChainView | None,
    person: User,
    now: datetime,
    exchange: telling.Exchange | None = None,
) -> _Notice:
    payload = item.payload
    letter = letters.write(
        letters.Case(
            kind=payload["kind"],
            to=person,
            event=facts.event,
            record=facts.record,
            owner=facts.owner,
            view=view,
            now=now,
            error=payload.get("error", ""),
            exchange=exchange,
            handover=_handover(item),
        )
    )
    text, html = rendering.render(letter, to=person, reference=facts.record.reference)
    return _Notice(
        kind=payload["kind"],
        once_key=payload["once_key"],
        thread=payload["request_id"],
        letter=letter,
        text=text,
        html=html,
        request_id=facts.record.request_id,
    )


def _handover(item: OutboxItem) -> RequestHandover | None:
    """Return the handover that a notice tells of (a query where there is one)."""
    number = item.payload.get("handover")
    if number is None:
        return None
    return handing_over.one(uuid.UUID(item.payload["request_id"]), number=int(number))


def _hand_over(
    channel: Channel,
    address: str,
    notice: _Notice,
    person: User,
    *,
    now: datetime,
    chosen: Chosen | None = None,
    also: Callable[[str], object] = lambda _: None,
) -> None:
    """Send a notice by a channel and write down that it was. Raises: DeliveryFailed."""
    message_id = _message_id(notice.once_key)
    channel.send(
        Message(
            address=address,
            subject=notice.letter.subject,
            text=notice.text,
            html=notice.html,
            message_id=message_id,
            thread_id=_message_id(notice.thread),
            url=notice.letter.url,
            attachments=notice.attachments,
        )
    )
    _record(channel, address, notice, person, chosen=chosen, now=now, also=lambda: also(message_id))


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
    in_centre: bool = False,
    as_chosen: OutboxItem | None = None,
    only_after: str = "",
    also: Callable[[str], object] = lambda _: None,
) -> bool:
    """Send a letter that is about no request, at once, once for its key; return whether it went.

    `in_centre` is whether it stands in the person's notice centre too, which is not for mail that
    is itself the copy of something. With `as_chosen`, the work it is done for, it comes as
    the person chose about its kind: now, after quiet hours, in the digest or not at all; what no
    server takes for days is given up. With `only_after` it goes only by channels by which the
    notice of that key went. `also` is called with the Message-ID in the transaction that records a
    mail. For an unsaved person, who is only an address, that is all that is recorded.
    Raises: DeliveryFailed, to be tried again later.
    """
    assert recording.no_transaction(), "a transaction is open, and the network must not hold one"
    went, comes = False, None
    attempts = Attempts()
    chosen = noticing.chosen(to) if as_chosen else None
    with _alone(once_key):
        text, html = rendering.render(letter, to=to, reference=reference)
        notice = _Notice(
            kind=kind, once_key=once_key, thread=thread, letter=letter, text=text, html=html,
            attachments=attachments,
        )  # fmt: skip
        for channel in registry.CHANNELS:
            address = channel.address(to)
            if address is None or not (channel.INTERRUPTS or in_centre):
                continue
            if telling.was_told(telling.key(channel.NAME, once_key)):
                continue
            if only_after and not telling.was_told(telling.key(channel.NAME, only_after)):
                log.info("notice.outdated", reason="its beginning was not told", kind=kind)
                continue
            if not channel.INTERRUPTS:
                with attempts.one():
                    _hand_over(channel, address, notice, to, chosen=chosen, now=now)
                continue
            if as_chosen and chosen:
                if comes is None:
                    comes = _comes_now(as_chosen, to, chosen, now)
                if not comes:
                    log.info("notice.not_now", channel=channel.NAME, kind=kind)
                    continue
                if _is_given_up(as_chosen, now):
                    log.error("notice.given_up", error=as_chosen.last_error, kind=kind)
                    continue
            with attempts.one():
                _hand_over(channel, address, notice, to, now=now, also=also)
                went = True
    attempts.finish()
    return went


def _outdated(
    item: OutboxItem,
    facts: telling.Facts,
    view: chains.ChainView | None,
    person: User,
    told: Sequence[telling.Told],
    now: datetime,
    exchange: telling.Exchange | None,
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
    elif exchange is not None and record.state != State.PENDING:
        return "not pending any more"
    elif exchange is not None and kind in QUESTIONS and exchange.is_answered:
        return "answered by now"
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
    elif kind == "stuck" and telling.stuck_since(record) is None:
        return "removed by now"
    return None


def _goes_on(record: AccessRequest) -> bool:
    extension = requests.extension_of(record.request_id)
    return extension is not None and extension.state == State.APPROVED


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


def _record(
    channel: Channel,
    address: str,
    notice: _Notice,
    person: User,
    *,
    chosen: Chosen | None,
    now: datetime,
    also: Callable[[], object],
) -> None:
    if person.pk is None:
        also()
        return
    row = Notice(
        request_id=notice.request_id,
        kind=notice.kind,
        channel=channel.NAME,
        recipient=person,
        recipient_name=person.get_full_name(),
        address=address,
        subject_line=notice.letter.subject,
        once_key=telling.key(channel.NAME, notice.once_key),
        occurred_at=now,
    )
    try:
        with transaction.atomic():
            row.save()
            if channel.NAME == portal.NAME:
                waits = chosen is not None and chosen.mode(sort_of(notice.kind)) is Mode.DIGEST
                notice_centre.enter(row, digest=chosen if waits else None, now=now)
            also()
    except IntegrityError as error:
        name = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None) or ""
        if "once_key" not in name:
            raise
        log.warning("notice.twice", kind=notice.kind, recipient=person.pk)
