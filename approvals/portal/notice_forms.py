"""The form of what a person chooses about notices; the service judges it."""

from typing import Any

from django import forms

from approvals.domain.notices import SORTS, Chosen, Mode
from approvals.domain.refusals import Invalid

_MODES = {
    Mode.NOW: "Mail at once",
    Mode.DIGEST: "In the digest",
    Mode.PORTAL: "In the portal only",
}
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TIME_ERROR = {"invalid": "Write the time as 22:00."}


class NoticesForm(forms.Form):
    """Ways by sort of notice, quiet hours, and the hour of the digest.

    A sort that comes in one way only has no field.
    """

    quiet_begins = forms.TimeField(
        required=False, label="From", error_messages=_TIME_ERROR,
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
    )  # fmt: skip
    quiet_ends = forms.TimeField(
        required=False, label="To", error_messages=_TIME_ERROR,
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
    )  # fmt: skip
    quiet_weekdays = forms.TypedMultipleChoiceField(
        required=False, label="Beginning on", coerce=int,
        choices=list(enumerate(_WEEKDAYS)), widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": "Choose weekdays of the list."},
    )  # fmt: skip
    digest_hour = forms.TypedChoiceField(
        label="Digest at", coerce=int, choices=[(hour, f"{hour:02}:00") for hour in range(24)],
        help_text="One mail a day with all that waits, none when nothing does.",
        error_messages={"invalid_choice": "Choose a full hour of the day."},
    )  # fmt: skip

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("auto_id", "notices_%s")
        super().__init__(*args, **options)
        for sort in SORTS:
            if len(sort.modes) > 1:
                self.fields[f"mode_{sort.key}"] = forms.ChoiceField(
                    label=sort.title,
                    help_text=sort.hint,
                    choices=[(str(mode), _MODES[mode]) for mode in sort.modes],
                    error_messages={"invalid_choice": "Choose one of the ways of the list."},
                )

    @staticmethod
    def of(chosen: Chosen) -> dict[str, Any]:
        """Return what the form shows of what was chosen before."""
        hours = chosen.quiet
        return {
            **{f"mode_{sort.key}": str(chosen.mode(sort)) for sort in SORTS},
            "quiet_begins": hours.begins if hours else None,
            "quiet_ends": hours.ends if hours else None,
            "quiet_weekdays": sorted(hours.weekdays) if hours else list(range(7)),
            "digest_hour": chosen.digest_hour,
        }

    @property
    def modes(self) -> list[forms.BoundField]:
        """Return the fields of the sorts, in their order."""
        return [self[name] for name in self.fields if name.startswith("mode_")]

    @property
    def fixed(self) -> list[tuple[str, str]]:
        """Return title and hint of the sorts that come in one way only."""
        return [(sort.title, sort.hint) for sort in SORTS if len(sort.modes) == 1]

    @property
    def chosen(self) -> dict[str, Any]:
        """Return what was chosen, as the service takes it."""
        data = self.cleaned_data
        modes = {
            name.removeprefix("mode_"): value
            for name, value in data.items()
            if name.startswith("mode_")
        }
        names = ("quiet_begins", "quiet_ends", "quiet_weekdays", "digest_hour")
        return {"modes": modes, **{name: data[name] for name in names}}

    def refuse(self, refusal: Invalid) -> None:
        """Show what the service refused beside its field."""
        self.add_error(refusal.field if refusal.field in self.fields else None, refusal.message)
