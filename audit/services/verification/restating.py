"""A revision's entry made again: from its row, its salts and the entry before it.

Where the bytes come out the same, then the entry is canonical, its members, names and commitments
are those that the row gives, and it follows what it should: one comparison says all of it. Where
they don't, `comparing` and `form` say what differs.

Source: RFC 2104, RFC 8785; `audit.domain.entries` defines entries and commitments.
"""

from __future__ import annotations

import re
from datetime import UTC
from hashlib import sha256
from json.encoder import encode_basestring as _quoted
from typing import Any

from audit.domain import canonical
from audit.domain.entries import REVISION, SALT_BYTES, SYSTEM, VERSION
from audit.domain.tiles import ENTRY_BYTES_MOST
from audit.models import Said

#: What only the row says and must not break out of its quotes: actor, id, model, op.
_WORDS = re.compile(
    rf"(?:{SYSTEM}|[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}) "
    r"[\x21\x23-\x5b\x5d-\x7e]{1,200} [a-z][a-z0-9_.]{0,99} [a-z][a-z0-9_.]{0,99}"
)
_NO_SALT = bytes(SALT_BYTES)
# HMAC-SHA256 with keys of 32 bytes, without the cost of setting each one up: it is most of what
# there is to compute.
_INNER = bytes(each ^ 0x36 for each in range(256))
_OUTER = bytes(each ^ 0x5C for each in range(256))
_INNER_REST = b"\x36" * (64 - SALT_BYTES)
_OUTER_REST = b"\x5c" * (64 - SALT_BYTES)


def commitments(values: list[tuple[str, Any]], salts: bytes) -> list[str | None]:
    """Return the commitment to each named value; the salts stand in the same order.

    None for a value that nothing can commit to. It is `audit.domain.entries.commitment`.
    """
    inner, outer = salts.translate(_INNER), salts.translate(_OUTER)
    found: list[str | None] = []
    start = 0
    for name, value in values:
        end = start + SALT_BYTES
        text = _quoted(value) if type(value) is str else _text(value)
        if text is None:
            found.append(None)
        else:
            made = sha256(inner[start:end] + _INNER_REST + f"{name}\0{text}".encode()).digest()
            found.append(sha256(outer[start:end] + _OUTER_REST + made).hexdigest())
        start = end
    return found


def entry(said: Said, salts: bytes | None) -> bytes | None:
    """Return the entry's bytes; None where the row and these salts make none."""
    words = f"{said.actor} {said.object_id} {said.model} {said.operation}"
    values = sorted(said.values.items())
    if (
        salts is None
        or len(salts) != SALT_BYTES * len(values)
        or _NO_SALT in salts
        or not _WORDS.fullmatch(words)
        or said.type != REVISION
    ):
        return None
    made = commitments(values, salts)
    if None in made:
        return None
    fields = ",".join([f'"{name}":"{each}"' for (name, _), each in zip(values, made, strict=True)])
    at = said.at.astimezone(UTC).isoformat(timespec="microseconds")[:26]
    data = (
        f'{{"actor":"{said.actor}","at":"{at}Z","fields":{{{fields}}},"id":"{said.object_id}",'
        f'"model":"{said.model}","op":"{said.operation}","prev":"{said.previous}",'
        f'"rev":{said.revision},"type":"{REVISION}","v":{VERSION}}}'
    ).encode()
    return data if len(data) <= ENTRY_BYTES_MOST else None


def _text(value: Any) -> str | None:
    """Return a value's canonical JSON; None for one that has none."""
    if type(value) is int and -(2**53) < value < 2**53:
        return str(value)
    known = _texts.get(id(value))
    if known is None or known[0] is not value:
        try:
            text: str | None = canonical.dumps(value).decode()
        except ValueError:
            text = None
        if len(_texts) > _TEXTS_MOST:
            _texts.clear()
        known = _texts[id(value)] = value, text
    return known[1]


#: The text of JSON values, which rows share, by their identity.
_texts: dict[int, tuple[Any, str | None]] = {}
_TEXTS_MOST = 1024
