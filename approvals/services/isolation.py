"""Calls targets, and keeps one that fails for now from being called on and on."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from approvals.outbox import circuits, queue, turns
from approvals.selectors import clock
from approvals.services import targets

#: What was not tried because its target just failed waits this long, or for the target's circuit.
UNTRIED_PAUSE = timedelta(seconds=1)


def call(rows: Sequence[targets.Row], action: targets.Action) -> Iterator[list[targets.Done]]:
    """Call the targets; yield what was tried, give back what was not, and note who failed.

    Others may call them as soon as the last outcome is known, while the caller records it.
    """
    left = len(rows)
    for done in targets.call(rows, action):
        now = clock.now()
        tried = [row for row in done if row[2].tried]
        failed = {item.target: outcome.error for item, _, outcome in tried if not outcome.answered}
        circuits.note(
            failed=failed,
            worked={item.target for item, _, outcome in tried if outcome.answered},
            now=now,
        )
        for item, _, outcome in done:
            if not outcome.tried:
                queue.postpone(item, until=now + UNTRIED_PAUSE)
        left -= len(done)
        if not left:
            turns.called()
        yield tried
