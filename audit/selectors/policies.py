"""The trust policy that the portal publishes, and the newest checkpoint that it accepts."""

from django.conf import settings

from audit.domain import note, policy
from audit.domain.lines import Malformed
from audit.domain.policy import Policy, QuorumMissed
from audit.models import Checkpoint, Log
from audit.selectors import holders
from audit.selectors import log as reads


def published(*, first: Log | None = None) -> Policy | None:
    """Return the policy for the portal's logs, newest (or `first`) at the top; None without a log.

    Witnesses, groups and quorum are those of LEDGER_WITNESSES; without it there is no quorum.
    Raises: holders.PolicyUnreadable.
    """
    logs = list(Log.objects.order_by("-id"))
    if not logs:
        return None
    if first is not None:
        logs.sort(key=lambda log: log.pk != first.pk)
    made = holders.policy(None)
    made.logs = [policy.Log(_key(log), address(log)) for log in logs]
    return made


def address(log: Log) -> str:
    """Return where the portal serves a log, for ever: the prefix of its checkpoint and tiles."""
    return f"{settings.PORTAL_URL.rstrip('/')}/ledger/logs/{reads.key_id(log)}/"


def _key(log: Log) -> note.LogKey:
    name, _, public = note.read_vkey(log.vkey)
    return note.LogKey(name, public)


def accepts(trust: Policy, message: bytes) -> bool:
    """Return whether one of a policy's logs signed a checkpoint and its quorum cosigned it."""
    try:
        trust.trusted(message)
    except (QuorumMissed, note.BadSignature, note.Untrusted, Malformed):
        return False
    return True


def newest_accepted(log: Log, *, least: int = 0) -> tuple[Checkpoint, bytes] | None:
    """Return the newest checkpoint of at least this size that the policy accepts, and its note.

    Where the witnesses have cosigned none of them, it is the newest of all. None: there is none.
    Raises: holders.PolicyUnreadable.
    """
    found = holders.last_cosigned(log)
    if found is not None and found.checkpoint.size >= least:
        return found.checkpoint, found.note
    newest = reads.newest_checkpoint(log)
    if newest is None or newest.size < least:
        return None
    return newest, reads.published_note(newest)
