"""Access that ended for one grant and stayed at the target, because another grant holds it too.

Such an end is recorded as confirmed without a call to the target (an extension that took over, two
requests for the same access). Nothing was removed then: it has no lag, was no attempt, and counts
in no figure about removals. The grant that holds the access has its own end.
"""

from datetime import datetime

#: Whether the newest revision `r` of a grant says that the target kept the access.
KEPT = "(r.detail #>> '{receipt,kept}' IS NOT DISTINCT FROM 'true')"
#: The short name of the grant that held it then; nothing where the target was rid of it.
HELD_BY = f"CASE WHEN {KEPT} THEN r.detail #>> '{{receipt,covered_by}}' ELSE '' END"
#: When the target was rid of it; nothing while it is there, or where it was kept.
GONE_AT = f"CASE WHEN NOT {KEPT} THEN r.removal_confirmed_at END"
#: The condition that an event `e` removed access at the target, which a kept one did not.
REMOVED = "(e.kind = 'removed' AND e.detail ->> 'kept' IS DISTINCT FROM 'true')"


def lag_ms(due_at: datetime | None, gone_at: datetime | None) -> int | None:
    """Return how late the target was rid of access; None where it is not, or never fell due."""
    return round((gone_at - due_at).total_seconds() * 1000) if gone_at and due_at else None
