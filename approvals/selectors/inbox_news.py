"""What changed in a person's inbox since a page showed it, without showing it anew."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from approvals.models import User
from approvals.selectors import sifting
from approvals.selectors.requests import PAGE, Cursor, InboxItem
from approvals.selectors.sifting import Sieve

_ONE = re.compile(r"([0-9a-f]{8})\.(\w{1,12})", re.ASCII)
_QUESTION = {None: "", True: "q", False: "a"}


class News(NamedTuple):
    """How many requests came into the list, look different now, or wait for the person no more."""

    new: int = 0
    changed: int = 0
    gone: int = 0

    @property
    def words(self) -> str:
        """Return it as people read it; nothing where nothing happened."""
        said = ((self.new, "new"), (self.changed, "changed"), (self.gone, "gone"))
        return ", ".join(f"{count} {word}" for count, word in said if count)


def mark(items: Iterable[InboxItem]) -> str:
    """Return what a list holds, short enough for a link."""
    return "-".join(f"{_key(item)}.{_state(item)}" for item in items)


def since(seen: str, *, person: User, after: Cursor | None = None, by: Sieve | None = None) -> News:
    """Return what changed since the list had the mark `seen` (two queries); nonsense holds nothing.

    What stands behind a full page was not on it, so it is no news.
    """
    shown = dict(_ONE.findall(seen)[:PAGE])
    found = sifting.inbox(person=person, by=by or Sieve(), after=after, limit=PAGE + len(shown))
    now = {_key(item): _state(item) for item in found}
    order = list(now)
    if len(shown) == PAGE:
        last = max((place for place, key in enumerate(order) if key in shown), default=-1)
        order = order[: last + 1]
    return News(
        new=sum(key not in shown for key in order),
        changed=sum(key in now and now[key] != state for key, state in shown.items()),
        gone=sum(key not in now for key in shown),
    )


def _key(item: InboxItem) -> str:
    return item.record.request_id.hex[-8:]


def _state(item: InboxItem) -> str:
    return f"{item.record.revision}{_QUESTION[item.has_open_question]}"
