"""Strict reading of JSON documents that people wrote: policies, chains, cases.

Lives here: typed access to a parsed JSON value, with the path of what is wrong in the error.
Doesn't live here: what the documents mean (`chain`, `policy`, `cases`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

NAME_MAX_CHARS = 200


class DocumentError(ValueError):
    """A document is not of its form; the message starts with the path of the first fault."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path or 'document'}: {reason}")


def _shown(key: object) -> str:
    text = repr(key)
    return text if len(text) <= 40 else text[:37] + "..."


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document, with its path and the error that its faults raise."""

    value: object
    path: str
    error: type[DocumentError]

    def fail(self, reason: str) -> DocumentError:
        """Make the error that names this value's path."""
        return self.error(self.path, reason)

    def fields(
        self, *, required: Collection[str] = (), optional: Collection[str] = (), open_: bool = False
    ) -> dict[str, Node]:
        """Return the named fields that are there; `open_` lets unknown ones pass, unread.

        Raises: the node's error for a value that is no object, a missing or an unknown key.
        """
        if not isinstance(self.value, dict):
            raise self.fail("must be an object")
        for key in self.value:
            if not open_ and key not in required and key not in optional:
                raise self.fail(f"has the unknown key {_shown(key)}")
        for key in required:
            if key not in self.value:
                raise self.fail(f"lacks the key {key!r}")
        known = [*required, *optional]
        return {key: self.at(key) for key in known if key in self.value}

    def at(self, key: str) -> Node:
        """Return the field `key` of this object, which must be there."""
        assert isinstance(self.value, dict)
        path = f"{self.path}.{key}" if self.path else key
        return Node(self.value[key], path, self.error)

    def members(self, *, what: str) -> dict[str, Node]:
        """Return an object's fields whose keys are names of people or things, not keywords."""
        if not isinstance(self.value, dict):
            raise self.fail("must be an object")
        for key in self.value:
            Node(key, f"{self.path}: {what} {_shown(key)}", self.error).name()
        return {key: self.at(key) for key in self.value}

    def items(self, *, least: int = 0, most: int) -> list[Node]:
        """Return the elements of a list of `least` to `most`."""
        if not isinstance(self.value, list):
            raise self.fail("must be a list")
        if len(self.value) < least:
            raise self.fail("must not be empty" if least == 1 else f"needs at least {least}")
        if len(self.value) > most:
            raise self.fail(f"must hold at most {most:,}")
        return [Node(x, f"{self.path}[{i}]", self.error) for i, x in enumerate(self.value)]

    def whole(self, *, least: int, most: int) -> int:
        """Return a whole number from `least` to `most`; a boolean is none."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.fail(f"must be a whole number of at least {least}")
        if value > most:
            raise self.fail(f"must be at most {most:,}")
        return value

    def flag(self) -> bool:
        """Return a boolean."""
        if not isinstance(self.value, bool):
            raise self.fail("must be true or false")
        return self.value

    def text(self) -> str:
        """Return a string."""
        if not isinstance(self.value, str):
            raise self.fail("must be a text")
        return self.value

    def name(self) -> str:
        """Return a string that can stand on a page and in a database: not blank, no controls."""
        value = self.text()
        if not value.strip():
            raise self.fail("must not be blank")
        if len(value) > NAME_MAX_CHARS:
            raise self.fail(f"must have at most {NAME_MAX_CHARS} characters")
        if any(unicodedata.category(char) in ("Cc", "Cs") for char in value):
            raise self.fail("must not hold control characters")
        return value

    def choice(self, options: Collection[str]) -> str:
        """Return one of `options`."""
        if not isinstance(self.value, str) or self.value not in options:
            raise self.fail(f"must be one of {', '.join(options)}")
        return self.value
