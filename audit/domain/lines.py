"""Strict readers of what the log's line formats are made of: numbers, base64, hashes, text.

Each accepts exactly one spelling of a value, so that no two files say the same thing and no
changed byte goes unnoticed.

Source: RFC 4648 section 4; C2SP signed-note, tlog-checkpoint, tlog-proof.
"""

import base64
import binascii
import re

HASH_BYTES = 32
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_MOST = 2**63 - 1


class Malformed(ValueError):
    """Bytes that aren't in the format that they should be in; the message says what is wrong."""


def decimal(text: str) -> int:
    """Return the number that ASCII digits without leading zeros spell, at most 2^63 - 1.

    Raises: Malformed.
    """
    if not _DECIMAL.fullmatch(text) or (number := int(text)) > _MOST:
        raise Malformed(f"{text[:40]!r} is not a decimal number without leading zeros")
    return number


def encode(data: bytes) -> str:
    """Return the standard base64 of data, with padding."""
    return base64.b64encode(data).decode()


def decode(text: str) -> bytes:
    """Return the bytes of a standard base64 text in its one canonical spelling.

    Raises: Malformed, also where unused bits aren't zero.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{text[:60]!r} is not base64") from error
    if encode(data) != text:
        raise Malformed(f"{text[:60]!r} is not canonical base64")
    return data


def decode_hash(text: str) -> bytes:
    """Return the 32 bytes of a SHA-256 hash in base64.

    Raises: Malformed.
    """
    data = decode(text)
    if len(data) != HASH_BYTES:
        raise Malformed(f"a hash has {HASH_BYTES} bytes, not {len(data)}")
    return data


def utf8(data: bytes) -> str:
    """Return data as text.

    Raises: Malformed for what isn't UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed("not UTF-8") from error
