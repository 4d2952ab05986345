"""One byte string for one value: canonical JSON, of which hashes are made.

Source: RFC 8785 (JSON Canonicalization Scheme).
"""

import json
from typing import Any

import rfc8785

_MOST = 2**53


def dumps(value: Any) -> bytes:
    """Return the canonical JSON of a value made of dicts, lists, texts, whole numbers, and so on.

    Values without floats and with ASCII keys, which are nearly all, take a short cut through the
    standard library's encoder; its output is the same bytes (a test compares them).
    Raises: rfc8785.CanonicalizationError for what JSON can't say (NaN, numbers of 2^53 and more).
    """
    return dumps_plain(value) if is_plain(value) else rfc8785.dumps(value)


def dumps_plain(value: Any) -> bytes:
    """Return the canonical JSON of a value that is known to be plain."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def is_plain(value: Any) -> bool:
    """Return whether the standard library's encoder writes this value canonically."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return bool(-_MOST < value < _MOST)
    if kind is dict:
        return all(
            type(key) is str and key.isascii() and is_plain(item) for key, item in value.items()
        )
    if kind is list:
        return all(map(is_plain, value))
    return False
