"""A form field for JSON that people write: laid out for reading, only what can be stored."""

import json
import math
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

LONGEST_CHARACTERS = 100_000


class DocumentField(forms.JSONField):
    """A JSON object in a large text area.

    Refuses what PostgreSQL would not store (NUL, half characters, NaN) and what is nested without
    end, with a message instead of an error page.
    """

    def __init__(self, **options: Any) -> None:
        attributes = {
            "class": "vLargeTextField document",
            "rows": 24,
            "cols": 100,
            "spellcheck": "false",
        }
        options.setdefault("widget", forms.Textarea(attrs=attributes))
        super().__init__(**options)
        self.empty_values = [None, ""]  # {} is an object, which may be wrong in its own way

    def to_python(self, value: Any) -> Any:
        """Return the object. Raises: ValidationError."""
        if isinstance(value, str) and len(value) > LONGEST_CHARACTERS:
            raise ValidationError(f"Use at most {LONGEST_CHARACTERS:,} characters.")
        try:
            found = super().to_python(value)
        except (RecursionError, ValueError) as error:
            raise ValidationError("This can't be read as JSON.") from error
        if found is None and not self.required:
            return {}
        if found is not None and not isinstance(found, dict):
            raise ValidationError("Write a JSON object: {…}.")
        _refuse_what_cannot_be_stored(found)
        return found

    def prepare_value(self, value: Any) -> Any:
        """Return the text that is shown, indented; text that was refused as it was written."""
        return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return what was typed, untouched, so that a refused text can be corrected."""
        return initial if self.disabled else data

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Return whether the object differs, whatever its layout."""
        try:
            return bool(self.to_python(data) != initial)
        except ValidationError:
            return True


def _refuse_what_cannot_be_stored(document: Any) -> None:
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValidationError("NaN and Infinity are no JSON numbers.")
        elif isinstance(value, str) and any(
            char == "\0" or "\ud800" <= char <= "\udfff" for char in value
        ):
            raise ValidationError("A text holds a NUL or half a character. Remove it.")
