"""Forms of the requester's pages: they check the shape only; services judge what is asked."""

import zoneinfo
from datetime import datetime, timedelta
from typing import Any

from django import forms

from approvals.domain import durations
from approvals.domain.durations import DurationError

OTHER = "other"
NOW, LATER = "now", "later"


class AskForm(forms.Form):
    """How long, when, why, under which ticket, and for whom.

    A duration that is typed (`other`) wins over a chosen one (`length`, in seconds), and a start
    that is typed wins over "as soon as approved": what stands in a field is what is meant.
    """

    length = forms.CharField(required=False, max_length=20)
    other = forms.CharField(required=False, max_length=durations.TEXT_MOST)
    when = forms.ChoiceField(choices=[(NOW, NOW), (LATER, LATER)], required=False)
    starts_at = forms.DateTimeField(
        required=False,
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
        error_messages={"invalid": "Write the start as 2025-11-24T22:00, in your timezone."},
    )
    reason = forms.CharField(required=False)
    ticket = forms.CharField(required=False)
    subject = forms.CharField(required=False, max_length=254)

    def clean(self) -> dict[str, Any]:
        """Turn what was typed into `duration` and `starts_at`."""
        data = super().clean() or self.cleaned_data
        if "other" in data and "length" in data:
            try:
                data["duration"] = self._duration(data["other"], data["length"])
            except DurationError as error:
                self.add_error("other", str(error))
        if data.get("when") == LATER and not data.get("starts_at") and "starts_at" in data:
            self.add_error("starts_at", "Say when it should start, or choose as soon as approved.")
        return data

    @staticmethod
    def _duration(other: str, length: str) -> timedelta:
        if other:
            return durations.parse(other)
        if length.isascii() and length.isdigit() and int(length) > 0:
            if int(length) > durations.LONGEST.total_seconds():
                raise DurationError("That is longer than ten years. Ask for less.")
            return timedelta(seconds=int(length))
        raise DurationError("Say how long you need it, such as 90m, 2h, 1h30 or 1 day.")

    @property
    def chosen(self) -> timedelta | None:
        """Return the duration that was understood, if any, valid form or not."""
        _ = self.errors  # cleans once; what a service added later must stay
        found: timedelta | None = self.cleaned_data.get("duration")
        return found

    @property
    def start(self) -> datetime | None:
        """Return the start that was understood, if any."""
        found: datetime | None = self.cleaned_data.get("starts_at")
        return found


def timezone_choices() -> list[tuple[str, str]]:
    """Return every timezone that has a place's name, and the portal's own first."""
    names = sorted(
        name
        for name in zoneinfo.available_timezones()
        if "/" in name and not name.startswith(("Etc/", "SystemV/", "posix/", "right/"))
    )
    return [("", "The portal's own"), ("UTC", "UTC"), *((name, name) for name in names)]


class SettingsForm(forms.Form):
    """What a person chooses for themselves."""

    timezone = forms.ChoiceField(
        required=False,
        choices=timezone_choices,
        label="Timezone",
        help_text="All times on these pages and in mails to you are written in it.",
        error_messages={"invalid_choice": "Choose a timezone of the list."},
    )
