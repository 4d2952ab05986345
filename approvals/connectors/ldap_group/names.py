"""Distinguished names and filters as text: written safely, and compared. No network.

Source: RFC 4514 (names), RFC 4515 (filters), RFC 4512 2.5 (attribute descriptions).
"""

from __future__ import annotations

import re

Name = tuple[frozenset[tuple[str, str]], ...]
"""A parsed name: a set of (attribute, value) for each RDN, the entry's own first, case folded."""

_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+")
_BIT_STRING = re.compile(r"#'[01]*'B\Z")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


class BadName(ValueError):
    """The text is no distinguished name."""


def is_attribute(text: str) -> bool:
    """Whether `text` is an attribute's name or number, without options."""
    return _ATTRIBUTE.fullmatch(text) is not None


def equals(attribute: str, value: str) -> str:
    """The filter that `attribute` equals `value`, whatever `value` holds.

    Every byte but ASCII letters and digits is escaped, so no value can end the assertion.

    Raises: UnicodeEncodeError for text that has no UTF-8.
    """
    written = "".join(
        chr(byte) if byte in _PLAIN else f"\\{byte:02x}" for byte in value.encode("utf-8")
    )
    return f"({attribute}={written})"


def parse(text: str) -> Name:
    """The name that `text` writes; two spellings of one name are equal.

    Case and runs of spaces don't count, as in the matching rules of the attributes that names are
    made of (RFC 4518). An alias of an attribute (`2.5.4.3` for `cn`) counts as another one.

    Raises: BadName.
    """
    rdns: list[frozenset[tuple[str, str]]] = []
    pairs: list[tuple[str, str]] = []
    for raw, separator in _split(text):
        attribute, equal, value = raw.partition("=")
        attribute = attribute.strip(" ").lower()
        if not equal or not is_attribute(attribute):
            raise BadName(f"{raw!r} is no attribute=value.")
        pairs.append((attribute, " ".join(_unescaped(_trimmed(value)).split()).casefold()))
        if separator != "+":
            rdns.append(frozenset(pairs))
            pairs = []
    return tuple(rdns)


def first_value(text: str, *, attribute: str) -> str | None:
    """The value of `attribute` in the entry's own RDN, as it is spelled; None if not there.

    Raises: BadName.
    """
    for raw, separator in _split(text):
        found, _, value = raw.partition("=")
        if found.strip(" ").lower() == attribute.lower():
            return _unescaped(_trimmed(value))
        if separator != "+":
            break
    return None


def is_under(name: Name, base: Name) -> bool:
    """Whether `name` is `base` or lies below it."""
    return len(name) >= len(base) and name[len(name) - len(base) :] == base


def without_uid(value: str) -> str:
    """A value of `uniqueMember` without its optional bit string. Source: RFC 4517 3.3.21."""
    return _BIT_STRING.sub("", value)


def _split(text: str) -> list[tuple[str, str]]:
    """Each `attribute=value` as written, with the separator after it ("" after the last).

    Raises: BadName.
    """
    parts: list[tuple[str, str]] = []
    start = position = 0
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        if text[position] in ",;+":
            parts.append((text[start:position], text[position]))
            start = position + 1
        position += 1
    parts.append((text[start:], ""))
    if any("=" not in raw for raw, _ in parts):
        raise BadName("A distinguished name reads attribute=value, attribute=value, and so on.")
    return parts


def _trimmed(value: str) -> str:
    """The value without the spaces around it, but with an escaped one at its end."""
    value = value.lstrip(" ")
    stripped = value.rstrip(" ")
    backslashes = len(stripped) - len(stripped.rstrip("\\"))
    return f"{stripped} " if backslashes % 2 and stripped != value else stripped


def _unescaped(value: str) -> str:
    """The value that RFC 4514 2.4 writes so; `#hex` stays as it is written.

    Raises: BadName.
    """
    out = bytearray()
    position = 0
    while position < len(value):
        character = value[position]
        if character != "\\":
            out += character.encode("utf-8", "surrogatepass")
            position += 1
            continue
        pair = value[position + 1 : position + 3]
        if re.fullmatch(r"[0-9A-Fa-f]{2}", pair):
            out.append(int(pair, 16))
            position += 3
        elif pair:
            out += pair[0].encode("utf-8", "surrogatepass")
            position += 2
        else:
            raise BadName("A name can't end with a backslash.")
    return out.decode("utf-8", "replace")
