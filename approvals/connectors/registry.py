"""Which connectors there are: every folder of this package that says `CONNECTOR = …`.

A folder has the name that its connector is stored by. Adding one touches its own folder alone,
besides its page in `docs/connectors/` and its tests. What several share is in folders without one.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module

from approvals import connectors
from approvals.connectors.protocol import Connector, PermanentError


class UnknownConnector(PermanentError):
    """A resource names a kind of target that this installation does not have."""


@cache
def _found() -> dict[str, Connector]:
    """Return the connectors by their keys, filled once.

    Raises: ValueError for a folder that is not called as its connector's key.
    """
    known: dict[str, Connector] = {}
    for found in pkgutil.iter_modules(connectors.__path__):
        if not found.ispkg:
            continue
        package = import_module(f"{connectors.__name__}.{found.name}")
        connector: Connector | None = getattr(package, "CONNECTOR", None)
        if connector is None:
            continue
        if connector.key != found.name:
            raise ValueError(f"The folder {found.name} holds the connector {connector.key!r}.")
        known[connector.key] = connector
    return known


def get(key: str) -> Connector:
    """The connector that is stored as `key`.

    Raises: UnknownConnector.
    """
    try:
        return _found()[key]
    except KeyError:
        known = ", ".join(sorted(_found()))
        raise UnknownConnector(
            f"There is no connector {key!r}: choose one of {known} for the resource."
        ) from None


def choices() -> list[tuple[str, str]]:
    """Key and title of each connector, for forms, sorted by title."""
    return sorted(
        ((key, connector.title) for key, connector in _found().items()), key=lambda row: row[1]
    )


@contextmanager
def registered(connector: Connector) -> Iterator[None]:
    """`connector` is known in this process for the time of the block: for tests and benches.

    Raises: ValueError if its key is taken.
    """
    if connector.key in _found():
        raise ValueError(f"The key {connector.key!r} is taken.")
    _found()[connector.key] = connector
    try:
        yield
    finally:
        del _found()[connector.key]
