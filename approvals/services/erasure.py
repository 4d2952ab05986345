"""Erasing a person's content by lawful request: who may ask, who may decide, what must end first.

`audit.services.erasing` records and carries it out; here are the portal's rules for it.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.contrib.sessions.models import Session
from django.db import connection, transaction

from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Settled
from approvals.models import Membership, User
from approvals.selectors import personal
from approvals.selectors.personal_kinds import KINDS
from approvals.services import report_schedules
from audit.domain.entries import SYSTEM
from audit.models import Erasure, histories, sealed
from audit.selectors import erasures
from audit.services import erasing, vouching

REFERENCE_MOST, COMMENT_MOST = 200, 2000


def register() -> None:
    """Say which rows are a person's, and who the two people must be; called once at start-up."""
    vouching.by(unfit)
    erasing.register(
        find=personal.find,
        finish=make_neutral,
        reads=[*(kind.model for kind in KINDS if kind.model is not Erasure), *personal.LOOKED_UP],
        calls=[
            "approvals_erase_person(bigint,text[])",
            "approvals_erase_seen(bigint,text[])",
            "approvals_erase_notices(bigint)",
            "approvals_erase_keyed(bigint)",
            "approvals_erase_saved(bigint,text[])",
            "approvals_erase_reports(bigint,text[])",
        ],
    )


def unfit(erasure: Erasure) -> Iterator[str]:
    """Yield what keeps the people of an erasure from being two who may and one whom it is about."""
    two = [uid for uid in (erasure.asked_by, erasure.decided_by) if uid is not None]
    active = set(User.objects.filter(uid__in=two, is_active=True).values_list("uid", flat=True))
    bearers = set(
        Membership.objects.filter(person__uid__in=two)
        .exclude(group__role="")
        .values_list("person__uid", flat=True)
    )
    for uid, did in ((erasure.asked_by, "asked for"), (erasure.decided_by, "approved")):
        if uid not in active:
            yield f"Whoever {did} it is nobody who is active here. Withdraw it and ask again."
        elif uid not in bearers:
            yield f"Whoever {did} it is neither of compliance nor an operator."
    if len({*two, erasure.person_uid}) < 3:
        yield "The person, who asked for it and who approved it are not three."
    if not User.objects.filter(pk=erasure.person_id, uid=erasure.person_uid).exists():
        yield "The person's number and identity are not of one person."


def ask(*, actor: User, login: str, ground: str, reference: str, now: datetime) -> Erasure:
    """Ask for the erasure of a person's content; a second person must agree.

    Raises: NotAllowed, Invalid for nobody, an unknown ground, or a reference that names the person,
    Settled where one is under way or done.
    """
    allowed(actor)
    person = personal.by_login(login)
    if person is None:
        raise Invalid("There is nobody with this login name or e-mail address.", field="login")
    if ground not in Erasure.Ground.values:
        raise Invalid("Choose the legal ground.", field="ground")
    reference = _plain(reference, person.pk, "reference", REFERENCE_MOST)
    if not reference:
        raise Invalid("Say where the request is filed, such as a case number.", field="reference")
    with _translated():
        return erasing.ask(
            person_id=person.pk,
            person_uid=person.uid,
            by=actor.uid,
            by_name=actor.get_full_name(),
            ground=ground,
            reference=reference,
            now=now,
        )


@transaction.atomic
def approve(*, actor: User, erasure_id: uuid.UUID, comment: str, now: datetime) -> Erasure:
    """Agree as the second person: the person's sign-in and keys end, and the sealer erases.

    Raises: NotFound, NotAllowed, Settled, also where something must end or be changed first.
    """
    erasure = _load(actor, erasure_id)
    comment = _plain(comment, erasure.person_id, "comment", COMMENT_MOST)
    with _translated():
        made = erasing.decide(
            erasure_id=erasure_id,
            approve=True,
            by=actor.uid,
            by_name=actor.get_full_name(),
            comment=comment,
            now=now,
        )
    if hindrances := personal.find(erasure.person_id).hindrances:
        raise Settled(" ".join(hindrances), code="hindered")
    person = User.objects.select_for_update().get(pk=erasure.person_id)
    if person.is_active:
        person.is_active = False
        person._change_reason = "erasure approved"  # type: ignore[attr-defined]
        person.save(update_fields=["is_active"])
    for key in person.public_keys.all():
        key.delete()
    report_schedules.forget(person, reason="erasure approved")
    _sign_out(person)
    return made


def refuse(*, actor: User, erasure_id: uuid.UUID, comment: str, now: datetime) -> Erasure:
    """Refuse as the second person, saying why. Raises: NotFound, NotAllowed, Settled, Invalid."""
    erasure = _load(actor, erasure_id)
    comment = _plain(comment, erasure.person_id, "comment", COMMENT_MOST)
    if not comment:
        raise Invalid("Say why it is refused.", field="comment")
    with _translated():
        return erasing.decide(
            erasure_id=erasure_id,
            approve=False,
            by=actor.uid,
            by_name=actor.get_full_name(),
            comment=comment,
            now=now,
        )


def withdraw(*, actor: User, erasure_id: uuid.UUID, comment: str, now: datetime) -> Erasure:
    """Stop an erasure that isn't carried out yet, saying why; anybody of the roles may.

    What its approval ended, such as their sign-in, stays ended until an operator gives it back.
    Raises: NotFound, NotAllowed, Settled, Invalid.
    """
    erasure = _load(actor, erasure_id)
    comment = _plain(comment, erasure.person_id, "comment", COMMENT_MOST)
    if not comment:
        raise Invalid("Say why it is withdrawn.", field="comment")
    with _translated():
        return erasing.withdraw(
            erasure_id=erasure_id,
            by=actor.uid,
            by_name=actor.get_full_name(),
            comment=comment,
            now=now,
        )


def due_at(erasure: Erasure) -> datetime | None:
    """Return when an approved erasure may be carried out; None for others."""
    return vouching.due(erasure) if erasure.event == Erasure.Event.APPROVED else None


def stands(erasure: Erasure, *, now: datetime) -> list[str]:
    """Return what is wrong with an approved erasure, so that the sealer will not carry it out."""
    try:
        return vouching.objections(erasure.erasure_id, now=now)
    except vouching.Waits:
        return []


def may_decide(actor: User, erasure: Erasure) -> bool:
    """Return whether this person is a second one who may decide."""
    return bool(actor.roles) and actor.uid not in (erasure.asked_by, erasure.person_uid)


def make_neutral(person_id: int) -> None:
    """Make the person's own row neutral, with a row of history and its entry (as the sealer)."""
    who = personal.person(person_id)
    assert who is not None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT approvals_erase_person(%s, %s::text[])", [person_id, sorted(who.words)]
        )
        history_id = cursor.fetchone()[0]
        cursor.execute(
            "SELECT approvals_erase_seen(%s, %s::text[])", [person_id, sorted(who.words)]
        )
        cursor.execute("SELECT approvals_erase_notices(%s)", [person_id])
        cursor.execute("SELECT approvals_erase_keyed(%s)", [person_id])
        cursor.execute(
            "SELECT approvals_erase_saved(%s, %s::text[])", [person_id, sorted(who.words)]
        )
        cursor.execute(
            "SELECT approvals_erase_reports(%s, %s::text[])", [person_id, sorted(who.words)]
        )
    row = User.history.get(history_id=history_id)
    revision, previous = sealed.last(model="user", object_id=str(person_id))
    said = histories.said(row, revision=revision + 1, previous=previous, actor=SYSTEM)
    sealed.record([((said, *said.build()), history_id)])


def allowed(actor: User) -> None:
    """Let compliance and operators through. Raises: NotAllowed."""
    if not actor.roles:
        raise NotAllowed("Erasures are for compliance and operators.", code="not_compliance")


def _load(actor: User, erasure_id: uuid.UUID) -> Erasure:
    allowed(actor)
    found = erasures.one(erasure_id)
    if not found:
        raise NotFound("There is no such erasure.")
    return found[-1]


def _plain(text: str, person_id: int, field: str, most: int) -> str:
    """Return the text without surrounding blanks. Raises: Invalid, also where it names them."""
    text = text.strip()
    if "\0" in text or len(text) > most:
        raise Invalid(f"Write at most {most:,} characters, and no NUL.", field=field)
    who = personal.person(person_id)
    if who is not None and who.is_named_in(text):
        raise Invalid("Don't name the person here: this text stays.", field=field)
    return text


def _sign_out(person: User) -> None:
    """End every session of a person; what a session holds can't be read in SQL."""
    for session in Session.objects.iterator():
        if session.get_decoded().get("_auth_user_id") == str(person.pk):
            session.delete()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except erasing.NotTwoPeople as error:
        raise NotAllowed(str(error), code="two_people") from error
    except erasing.NotOpen as error:
        raise Settled(str(error), code="decided") from error
