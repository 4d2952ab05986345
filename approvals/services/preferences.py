"""What a person chooses for themselves; everything else about people is the directory's."""

import zoneinfo

from approvals.domain.refusals import Invalid
from approvals.models import User


def set_timezone(*, actor: User, name: str) -> None:
    """Show `actor` all times in this timezone from now on; empty means the portal's own.

    Raises: Invalid for a name that is no timezone.
    """
    if name and name not in zoneinfo.available_timezones():
        raise Invalid("Choose a timezone of the list.", field="timezone")
    if actor.timezone == name:
        return
    actor.timezone = name
    actor._change_reason = "Chosen on the settings page"  # type: ignore[attr-defined]
    actor.save(update_fields=["timezone"])
