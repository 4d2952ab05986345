"""Asks the policy's witnesses to cosign the newest checkpoint (C2SP tlog-witness, the client).

Lives here: the conversation. Doesn't live here: bodies and their meaning (`audit.domain.witness`),
what the published checkpoint looks like (`audit.selectors.holders`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from audit.domain import cosignature, witness
from audit.domain.policy import Witness
from audit.domain.witness import Behind, Cosigned, Refused, Request
from audit.models import Checkpoint, Holding
from audit.selectors import holders
from audit.selectors import log as reads
from audit.services import holding, posting

log = structlog.get_logger(__name__)

Named = tuple[str, Witness]


class _Fork(Exception):
    """A witness holds what this log can't have grown from."""


def hold(*, now: datetime) -> list[Holding]:
    """Ask every witness that lacks the newest checkpoint; return the cosignatures that were kept.

    Keys of one address are asked for by one request. A failing witness stops no other. Nothing is
    asked before the first checkpoint, nor where the policy can't be read, which is logged.
    """
    assert posting.no_transaction(), "a transaction is open, and the network must not hold one"
    made = reads.current()
    checkpoint = reads.newest_checkpoint(made) if made else None
    if made is None or checkpoint is None:
        return []
    try:
        trust = holders.policy(made)
    except holders.PolicyUnreadable as error:
        log.error("ledger.policy_unreadable", error=str(error))
        return []
    at: dict[str, list[Named]] = {}
    for name, it in trust.witnesses.items():
        if it.url:
            at.setdefault(it.url, []).append((name, it))
    kept: list[Holding] = []
    for url, named in at.items():
        had = [_held_size(checkpoint, name) for name, _ in named]
        if min(had) < checkpoint.size:
            kept += _hold(checkpoint, url, named, old=min(max(had), checkpoint.size), now=now)
    return kept


def _held_size(checkpoint: Checkpoint, name: str) -> int:
    taken = holders.newest_taken(checkpoint.log, kind=Holding.Kind.WITNESS, holder=name)
    said = holders.newest(checkpoint.log, kind=Holding.Kind.WITNESS, holder=name)
    # One that failed since is asked again, whatever it took before.
    return taken.size if taken is not None and taken == said else 0


def _hold(
    checkpoint: Checkpoint, url: str, named: Sequence[Named], *, old: int, now: datetime
) -> list[Holding]:
    """Ask at one address; write down what came of it for each of its keys."""
    try:
        asked, answer = _ask(checkpoint, url, [it.key for _, it in named], old=old)
    except (posting.Unreachable, Refused, _Fork) as error:
        state = _state(error)
        detail = {"status": error.status} if isinstance(error, Refused) else {}
        for name, _ in named:
            _failed(checkpoint, name, state, str(error), detail, now=now)
        return []
    by_key = {(it.name, it.key_id): it for it in answer.signatures}
    kept = []
    for name, it in named:
        signature = by_key.get((it.key.name, it.key.key_id))
        if signature is None:
            error_text = "it cosigned, but not by this key"
            _failed(asked, name, Holding.State.INVALID, error_text, {"status": 200}, now=now)
            continue
        at = cosignature.split(signature.value)[0]
        kept.append(
            holding.took(
                checkpoint=asked,
                kind=Holding.Kind.WITNESS,
                holder=name,
                evidence=signature.line().encode(),
                detail={"cosigned_at": _written(at), "vkey": it.key.vkey[:200]},
                now=now,
            )
        )
    return kept


def _ask(
    checkpoint: Checkpoint, url: str, keys: Sequence[cosignature.CosignerKey], *, old: int
) -> tuple[Checkpoint, Cosigned]:
    """Return the checkpoint that was cosigned, and the verified cosignatures.

    A witness that has another size says it, and is asked once more from there. Raises:
    posting.Unreachable, Refused, _Fork.
    """
    for _ in range(2):
        tree = reads.tree(checkpoint.log, size=checkpoint.size)
        proof = tuple(tree.consistency(old=old))
        request = Request(old, proof, bytes(checkpoint.note))
        answer = posting.post(
            url=f"{url.rstrip('/')}/{witness.PATH}",
            body=request.encode(),
            content_type="text/plain; charset=utf-8",
        )
        found = witness.read_answer(
            status=answer.status,
            content_type=answer.content_type,
            body=answer.body,
            request=request,
            keys=keys,
        )
        if isinstance(found, Cosigned):
            return checkpoint, found
        checkpoint = _at_least(checkpoint, found)
        old = found.size
    raise Refused("it named another size twice", status=409, again=True)


def _at_least(checkpoint: Checkpoint, found: Behind) -> Checkpoint:
    """Return a checkpoint that may have grown from what the witness has. Raises: _Fork."""
    if found.size <= checkpoint.size:
        return checkpoint
    newer = reads.newest_checkpoint(checkpoint.log)
    if newer is None or newer.size < found.size:
        raise _Fork(
            f"it holds a checkpoint of {found.size} entries, and the log has {checkpoint.size}: "
            "its end was cut, or an older backup was restored"
        )
    return newer


def _state(error: Exception) -> Holding.State:
    if isinstance(error, _Fork):
        return Holding.State.FORK
    if isinstance(error, Refused) and not error.again:
        if error.status == 422:
            return Holding.State.FORK
        return Holding.State.INVALID if error.status in (200, 409) else Holding.State.REFUSED
    return Holding.State.UNREACHABLE


def _failed(
    checkpoint: Checkpoint,
    name: str,
    state: Holding.State,
    error: str,
    detail: dict[str, int],
    *,
    now: datetime,
) -> None:
    holding.failed(
        checkpoint=checkpoint,
        kind=Holding.Kind.WITNESS,
        holder=name,
        state=state,
        error=error,
        detail=detail,
        now=now,
    )


def _written(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return str(seconds)
