"""An entry's bytes, read in one go where they are exactly what an entry looks like.

`audit.domain.entries.read` is the definition; this is a short way to the same answer for bytes that
are canonical and no erasure, which nearly all are. Whatever it doesn't take goes there, where it is
said why not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from audit.domain import entries
from audit.domain.tiles import ENTRY_BYTES_MOST

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_WORD = r"[a-z][a-z0-9_.]{0,99}"
_NAME = r"[A-Za-z_][A-Za-z0-9_.\-]{0,99}"
_CANONICAL = re.compile(
    rf'\{{"actor":"({entries.SYSTEM}|{_UUID})"'
    r',"at":"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)"'
    rf',"fields":\{{((?:"{_NAME}":"[0-9a-f]{{64}}"(?:,(?=")|(?=\}})))*)\}}'
    r',"id":"([\x21\x23-\x5b\x5d-\x7e]{1,200})"'
    rf',"model":"({_WORD})","op":"({_WORD})","prev":"([0-9a-f]{{64}}|)"'
    rf',"rev":([1-9][0-9]{{0,14}}),"type":"(?!{entries.ERASURE}")({_WORD})","v":1\}}'
)
_FIELD = re.compile(r'"([^"]+)":"([^"]+)"')


class Form(NamedTuple):
    """What an entry says."""

    actor: str
    at: datetime
    fields: Mapping[str, str]
    id: str
    model: str
    op: str
    prev: str
    rev: int
    type: str


def read(data: bytes) -> Form:
    """Return what an entry says. Raises: Malformed for bytes that aren't exactly an entry's."""
    form = _short(data)
    if form is not None:
        return form
    said = entries.read(data)
    return Form(
        said.actor,
        datetime.fromisoformat(said.at),
        said.fields,
        said.id,
        said.model,
        said.op,
        said.prev,
        said.rev,
        said.type,
    )


def _short(data: bytes) -> Form | None:
    if len(data) > ENTRY_BYTES_MOST or not data.isascii():
        return None
    match = _CANONICAL.fullmatch(data.decode())
    if match is None:
        return None
    actor, at, text, id_, model, op, prev, number, kind = match.groups()
    pairs = _FIELD.findall(text)
    fields = dict(pairs)
    names = list(fields)
    rev = int(number)
    if len(names) != len(pairs) or names != sorted(names) or bool(prev) is (rev == 1):
        return None
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    return Form(actor, moment, fields, id_, model, op, prev, rev, kind)
