"""What a person chooses for themselves; everything else about people is the directory's."""

import zoneinfo
from collections.abc import Iterable, Mapping
from datetime import datetime, time

from django.db import transaction

from approvals.domain import quiet
from approvals.domain.notices import SORTS, Mode
from approvals.domain.refusals import Invalid
from approvals.models import NoticePreferences, User
from approvals.selectors import noticing
from approvals.services import notice_centre


@transaction.atomic
def set_timezone(*, actor: User, name: str) -> None:
    """Show `actor` all times in this timezone from now on; empty means the portal's own.

    Raises: Invalid for a name that is no timezone.
    """
    if name and name not in zoneinfo.available_timezones():
        raise Invalid("Choose a timezone of the list.", field="timezone")
    # The history gets all of the row: as it is by now.
    actor.refresh_from_db(from_queryset=User.objects.select_for_update())
    if actor.timezone == name:
        return
    actor.timezone = name
    actor._change_reason = "Chosen on the settings page"  # type: ignore[attr-defined]
    actor.save(update_fields=["timezone"])


@transaction.atomic
def set_notices(
    *,
    actor: User,
    modes: Mapping[str, str],
    quiet_begins: time | None,
    quiet_ends: time | None,
    quiet_weekdays: Iterable[int],
    digest_hour: int,
    now: datetime,
) -> None:
    """Let notices reach `actor` so from now on; sorts that `modes` lacks have their default.

    What waits for a digest moves to the hour chosen. Raises: Invalid for a sort or a mode that
    there is not, a mode that may not be chosen, quiet hours with one end
    only, without a day or that never end, and an hour that is none.
    """
    allowed = {sort.key: sort.modes for sort in SORTS}
    for key, mode in modes.items():
        if key not in allowed or mode not in list(Mode):
            raise Invalid("Choose one of the ways for each sort of notice.", field="modes")
        if mode not in allowed[key]:
            title = next(sort.title for sort in SORTS if sort.key == key)
            raise Invalid(f"“{title}” can't be switched off so far.", field=f"mode_{key}")
    if (quiet_begins is None) != (quiet_ends is None):
        raise Invalid("Say when quiet hours begin and when they end.", field="quiet_ends")
    weekdays = sorted(set(quiet_weekdays))
    if not set(weekdays) <= quiet.WEEK:
        raise Invalid("Choose weekdays of the list.", field="quiet_weekdays")
    if quiet_begins is not None and quiet_ends is not None:
        if not weekdays:
            raise Invalid("Choose the days on which quiet hours begin.", field="quiet_weekdays")
        try:
            quiet.Hours(quiet_begins, quiet_ends, frozenset(weekdays))
        except quiet.NeverEnds as error:
            raise Invalid(str(error), field="quiet_ends") from error
    if not 0 <= digest_hour <= 23:
        raise Invalid("Choose a full hour of the day.", field="digest_hour")
    NoticePreferences.objects.update_or_create(
        person=actor,
        defaults={
            "modes": dict(modes),
            "quiet_begins": quiet_begins,
            "quiet_ends": quiet_ends,
            "quiet_weekdays": weekdays,
            "digest_hour": digest_hour,
        },
    )
    notice_centre.reschedule(actor.pk, chosen=noticing.chosen(actor), now=now)
