"""Passwords, certificates and the like, from the target to the subject: once, and to nobody else.

They are encrypted with a key made of SECRET_KEY from the moment the target gave them, are in no
record, and are deleted when they were shown or the access ended.
"""

import base64
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import transaction

from approvals.directory.models import User
from approvals.domain.refusals import NotFound, Settled
from approvals.domain.states import State
from approvals.models import CurrentRequest, Handover
from approvals.services import recording


class Given(Protocol):
    """What a connector hands over."""

    @property
    def label(self) -> str:
        """Return what it is."""

    @property
    def text(self) -> str:
        """Return the text."""

    @property
    def once(self) -> bool:
        """Return whether it is secret."""


class Shown(NamedTuple):
    """One text, decrypted, for the page that shows it now."""

    label: str
    text: str


def keep(request_id: uuid.UUID, given: Sequence[Given], *, now: datetime) -> None:
    """Keep these for the subject in place of what an earlier try gave; in a transaction."""
    Handover.objects.filter(request_id=request_id).delete()
    Handover.objects.bulk_create(
        Handover(
            request_id=request_id,
            label=each.label,
            once=each.once,
            sealed=_cipher().encrypt(each.text.encode()),
            created_at=now,
        )
        for each in given
    )


def take(*, actor: User, request_id: uuid.UUID) -> list[Shown]:
    """Return what is kept for the subject; what may be shown once is gone from now on.

    Raises: NotFound for anybody but the subject; Settled where nothing is left to show.
    """
    with transaction.atomic():
        record = recording.locked(request_id)
        if record.subject_id != actor.pk:
            raise NotFound("There is nothing to show.")
        rows = list(Handover.objects.filter(request_id=request_id).order_by("id"))
        if not rows or record.state != State.ACTIVE:
            raise Settled("It was shown already, or the access has ended.", code="shown")
        try:
            found = [
                Shown(row.label, _cipher().decrypt(bytes(row.sealed)).decode()) for row in rows
            ]
        except InvalidToken as error:
            raise Settled(
                "It can't be read any more: the portal's key was changed since. Ask again.",
                code="unreadable",
            ) from error
        Handover.objects.filter(pk__in=[row.pk for row in rows if row.once]).delete()
    return found


def waits(*, request_id: uuid.UUID) -> bool:
    """Return whether something is kept for the subject of this request."""
    return Handover.objects.filter(request_id=request_id).exists()


def clear() -> int:
    """Delete what is left of requests that are not live; return how many."""
    live = CurrentRequest.objects.filter(state__in=[str(State.APPROVED), str(State.ACTIVE)])
    gone, _ = Handover.objects.exclude(request_id__in=live.values("request_id")).delete()
    return gone


def _cipher() -> Fernet:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"jitportal handover").derive(
        settings.SECRET_KEY.encode()
    )
    return Fernet(base64.urlsafe_b64encode(key))
