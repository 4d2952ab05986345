"""Which connectors there are: one explicit list, nothing found by import magic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from approvals.connectors.portal import PortalGroup
from approvals.connectors.postgres_roles import PostgresRole
from approvals.connectors.protocol import Connector, PermanentError

_CONNECTORS: dict[str, Connector] = {
    PostgresRole.key: PostgresRole(),
    PortalGroup.key: PortalGroup(),
}


class UnknownConnector(PermanentError):
    """A resource names a kind of target that this installation does not have."""


def get(key: str) -> Connector:
    """The connector that is stored as `key`.

    Raises: UnknownConnector.
    """
    try:
        return _CONNECTORS[key]
    except KeyError:
        known = ", ".join(sorted(_CONNECTORS))
        raise UnknownConnector(
            f"There is no connector {key!r}: choose one of {known} for the resource."
        ) from None


def choices() -> list[tuple[str, str]]:
    """Key and title of each connector, for forms, sorted by title."""
    return sorted(
        ((key, connector.title) for key, connector in _CONNECTORS.items()), key=lambda row: row[1]
    )


@contextmanager
def registered(connector: Connector) -> Iterator[None]:
    """`connector` is known in this process for the time of the block: for tests and benches.

    Raises: ValueError if its key is taken.
    """
    if connector.key in _CONNECTORS:
        raise ValueError(f"The key {connector.key!r} is taken.")
    _CONNECTORS[connector.key] = connector
    try:
        yield
    finally:
        del _CONNECTORS[connector.key]
