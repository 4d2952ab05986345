"""The moment that tests hand to connectors, as the services hand in the database's."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_BEGAN_AT = datetime.now(UTC)
_BEGAN = time.monotonic()


def now() -> datetime:
    """Return the true time, also where a test has set this host's clock off."""
    return _BEGAN_AT + timedelta(seconds=time.monotonic() - _BEGAN)
