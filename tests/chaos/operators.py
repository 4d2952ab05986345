"""What an operator does at the end of a run: `python -m tests.chaos.operators cancel|retry`."""

from __future__ import annotations

import contextlib
import sys

import django

django.setup()

from approvals.domain.refusals import Refusal  # noqa: E402
from approvals.models import CurrentRequest, OutboxItem, User  # noqa: E402
from approvals.outbox import queue  # noqa: E402
from approvals.selectors import clock  # noqa: E402
from approvals.services import requests  # noqa: E402


def cancel() -> int:
    """Withdraw what is pending and would wait for an hour; return how many."""
    operator = User.objects.get(username="operator")
    keys = list(
        CurrentRequest.objects.filter(state="pending", due_at__gt=clock.now())
        .values_list("request_id", flat=True)
    )  # fmt: skip
    done = 0
    for key in keys:
        with contextlib.suppress(Refusal):  # it was settled meanwhile
            requests.cancel(actor=operator, request_id=key, now=clock.now())
            done += 1
    return done


def retry() -> int:
    """Have everything that pauses after a failure tried now; return how many."""
    now = clock.now()
    keys = OutboxItem.objects.filter(not_before__gt=now, first_failed_at__isnull=False)
    return sum(queue.retry_now(key, now=now) for key in keys.values_list("pk", flat=True))


if __name__ == "__main__":
    sys.stdout.write(f"{ {'cancel': cancel, 'retry': retry}[sys.argv[1]]() }\n")
