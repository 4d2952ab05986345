"""Child of the removal bench: ends what is due as the sweep does, batch after batch."""

from __future__ import annotations

import time

import django

django.setup()

from approvals import abreast  # noqa: E402
from tests.bench import company, ground  # noqa: E402


def sweep() -> dict[str, float]:
    """End everything that is due; return how many that were, and the seconds that it took."""
    ended = 0
    begun = time.perf_counter()
    while batch := abreast.end_due():
        ended += batch
    return {"ended": ended, "seconds": time.perf_counter() - begun}


if __name__ == "__main__":
    ground.answer({"build": company.build, "sweep": sweep})
