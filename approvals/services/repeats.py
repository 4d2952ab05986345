"""The same write sent again: whoever sends it with the same key gets the first one's answer.

Source: draft-ietf-httpapi-idempotency-key-header-07.
"""

from datetime import datetime, timedelta

from django.db import connection, transaction

from approvals.domain.refusals import Invalid, Refusal
from approvals.models import KeyedWrite, User

#: How long a key means what it was first used for.
KEPT = timedelta(hours=24)
KEY_MOST = 255
_PRUNED_AT_ONCE = 100


class Changed(Refusal):
    """A key came again with another write."""

    status = 422


def claim(*, person: User, key: str, fingerprint: str, now: datetime) -> str | None:
    """Return where this write led when it was sent before, or None for who is the first to send it.

    The first one's transaction decides: until it ends, others with its key wait here, and where it
    fails the next one is the first. Call it in the transaction that does the write, and `settle`
    at its end. Raises: Invalid for a key that is none, Changed for one of another write.
    """
    if not 1 <= len(key) <= KEY_MOST or not key.isascii() or not key.isprintable():
        raise Invalid(f"A key has 1 to {KEY_MOST} printable ASCII characters.", code="bad_key")
    assert connection.in_atomic_block, "the claim is as lasting as the write"
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM approvals_keyedwrite WHERE id IN (SELECT id FROM approvals_keyedwrite"
            " WHERE created_at < %s ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED)",
            [now - KEPT, _PRUNED_AT_ONCE],
        )
        cursor.execute(
            "INSERT INTO approvals_keyedwrite (person_id, key, fingerprint, location, created_at)"
            " VALUES (%s, %s, %s, '', %s) ON CONFLICT (person_id, key) DO NOTHING RETURNING id",
            [person.pk, key, fingerprint, now],
        )
        if cursor.fetchone() is not None:
            return None
    first = KeyedWrite.objects.get(person=person, key=key)
    if first.fingerprint != fingerprint:
        raise Changed(
            "This key was used for something else. Send a new write with a new key.",
            code="key_reused",
        )
    assert first.location, "a write without an answer is never committed with its key"
    return first.location


def settle(*, person: User, key: str, location: str) -> None:
    """Keep where the write led that has just been done in this transaction."""
    KeyedWrite.objects.filter(person=person, key=key).update(location=location)


def forget(*, person: User, key: str) -> None:
    """Keep no answer: a second one with this key is done anew."""
    if not transaction.get_rollback():  # else the key goes with all the rest
        KeyedWrite.objects.filter(person=person, key=key).delete()
