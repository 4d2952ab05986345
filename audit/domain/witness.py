"""Talking with a witness: what add-checkpoint sends, and what each answer means.

Lives here: the bodies, as pure functions. Doesn't live here: the network.

Source: C2SP tlog-witness 1.0.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audit.domain import checkpoint as checkpoints
from audit.domain import lines, note
from audit.domain.cosignature import CosignerKey
from audit.domain.lines import Malformed

PATH = "add-checkpoint"
PROOF_LINES_MOST = 63
SIZE_TYPE = "text/x.tlog.size"


class Refused(ValueError):
    """The witness did not cosign; `status` is what it answered, `again` whether to ask again."""

    def __init__(self, message: str, *, status: int, again: bool) -> None:
        super().__init__(message)
        self.status = status
        self.again = again


_MEANINGS = {
    400: "it takes the request for malformed, or the old size for larger than the checkpoint's",
    403: "it found no valid signature by a key that it trusts for this log",
    404: "it does not know this log's origin",
    422: "the consistency proof doesn't verify, or it has another root for this size: a fork",
}


@dataclass(frozen=True, slots=True)
class Request:
    """An add-checkpoint request: the size that the witness has, the proof, the checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """Return the body to POST.

        Raises: Malformed for more proof lines than the protocol allows.
        """
        if len(self.proof) > PROOF_LINES_MOST:
            raise Malformed(f"at most {PROOF_LINES_MOST} proof lines may be sent")
        head = [f"old {self.old}", *map(lines.encode, self.proof), ""]
        return "".join(f"{line}\n" for line in head).encode() + self.checkpoint


def read_request(body: bytes) -> Request:
    """Return the parts of a request's body; nothing is verified but the form.

    Raises: Malformed.
    """
    head, blank, checkpoint = body.partition(b"\n\n")
    if not blank:
        raise Malformed("a request has an empty line before its checkpoint")
    old, *proof = lines.utf8(head).split("\n")
    if not old.startswith("old "):
        raise Malformed("a request begins with the old size")
    if len(proof) > PROOF_LINES_MOST:
        raise Malformed(f"a request has at most {PROOF_LINES_MOST} proof lines")
    size = lines.decimal(old.removeprefix("old "))
    checkpoints.read(checkpoint)
    return Request(size, tuple(map(lines.decode_hash, proof)), checkpoint)


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The witness cosigned: its verified signatures, to be added to the checkpoint."""

    signatures: tuple[note.Signature, ...]


@dataclass(frozen=True, slots=True)
class Behind:
    """The witness's newest checkpoint of this log has another size: ask again from there."""

    size: int


def read_answer(
    *,
    status: int,
    content_type: str,
    body: bytes,
    request: Request,
    keys: Sequence[CosignerKey],
) -> Cosigned | Behind:
    """Return what a witness answered to a request; cosignatures by unknown keys are ignored.

    Raises: Refused for all answers but a cosignature and another size, and for a body that isn't
    what its status promises. `again` is true where only time can help (429, 5xx).
    """
    try:
        if status == 200:
            return _cosigned(body, request, keys)
        if status == 409:
            return _behind(content_type, body)
    except (Malformed, note.BadSignature) as error:
        raise Refused(f"the witness's answer is wrong: {error}", status=status, again=False) from (
            error
        )
    again = status == 429 or status >= 500
    meaning = _MEANINGS.get(status, "it is not able to answer now" if again else "unexpected")
    raise Refused(f"the witness answered {status}: {meaning}", status=status, again=again)


def _cosigned(body: bytes, request: Request, keys: Sequence[CosignerKey]) -> Cosigned:
    text = lines.utf8(body)
    if not text.endswith("\n"):
        raise Malformed("signature lines end in a newline")
    answered = tuple(map(note.read_signature, text[:-1].split("\n")))
    signed = note.Note(note.read(request.checkpoint).text, answered)
    found = tuple(signature for _, signature in note.verified(note=signed, keys=keys))
    if not found:
        raise Malformed("no cosignature by a key that we know the witness by")
    if any(int.from_bytes(signature.value[:8], "big") == 0 for signature in found):
        raise Malformed("the cosignature has no time")
    return Cosigned(found)


def _behind(content_type: str, body: bytes) -> Behind:
    if content_type.partition(";")[0].strip().lower() != SIZE_TYPE:
        raise Malformed(f"a size comes as {SIZE_TYPE}, not as {content_type[:80]!r}")
    text = lines.utf8(body)
    if not text.endswith("\n"):
        raise Malformed("a size ends in a newline")
    return Behind(lines.decimal(text[:-1]))
