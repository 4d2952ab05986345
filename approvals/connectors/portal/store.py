"""Where the portal's memberships are kept. The services hand it in: no models are known here."""

from __future__ import annotations

from typing import Protocol

from approvals.connectors.protocol import PermanentError


class UnknownLogin(Exception):
    """The directory has nobody of that login (or not any more)."""


class UnknownGroup(Exception):
    """The directory has no group of that name."""


class Store(Protocol):
    """The directory's memberships, as this connector needs them.

    A membership is *standing* or *carried by a grant* (it records the request that made it). A
    standing one is never touched from here: it was not asked for and does not end.
    """

    def add(self, *, login: str, group: str, request_id: str, reason: str) -> bool:
        """The login is a member of the group when this returns, once, however often it is called.

        True when the membership is carried by a grant: by this one, now or since an earlier call,
        or by an overlapping one. False when a standing membership was there, which stays as it is.

        Raises: UnknownLogin, UnknownGroup.
        """
        ...

    def remove(self, *, login: str, group: str, request_id: str, reason: str) -> bool:
        """No membership that is carried by a grant is left, whichever request made it.

        It is only called when no other live grant covers the same login and group. `request_id`
        and `reason` are for the history. True when a membership was removed now. An unknown login
        or group has no membership: False.
        """
        ...

    def members(self, *, group: str) -> list[str]:
        """The logins of the group's members, standing or not.

        Raises: UnknownGroup.
        """
        ...


_handed_in: list[Store] = []  # one at most


def use(store: Store | None) -> None:
    """From now on memberships live in `store`, for every thread of this process."""
    _handed_in[:] = [] if store is None else [store]


def registered() -> Store:
    """Return what was handed in. Raises: PermanentError."""
    if not _handed_in:
        raise PermanentError(
            "This portal's directory is not connected: portal.use(store) must run at start-up."
        )
    return _handed_in[0]
