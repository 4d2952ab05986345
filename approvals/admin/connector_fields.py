"""The settings that a connector declares, as fields of a form instead of one JSON text.

`settings` stays the truth. A declared setting is read from it into a field and written back; what
is not declared, or is not of its declared kind, is shown as JSON beside the fields and kept.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django import forms
from django.contrib.admin.utils import flatten_fieldsets
from django.http import HttpRequest

from approvals.admin.configuration import ConfigurationAdmin, ReasonedForm
from approvals.admin.documents import LONGEST_CHARACTERS, DocumentField
from approvals.services.connector_forms import Field

PREFIX = "setting__"
_NOT_SAID = ("", "---------")
_UNSET = object()


class SettingsForm(ReasonedForm):
    """A form whose connector says which settings there are.

    `settings_of` names the connector whose fields were on the page that is sent. A page that shows
    another's is not saved: the fields of the right one are shown first.
    """

    settings_of = forms.CharField(required=False, widget=forms.HiddenInput)
    settings = DocumentField(
        label="Other settings",
        required=False,
        help_text="JSON: what is none of the fields above.",
        widget=forms.Textarea(
            attrs={"class": "vLargeTextField", "rows": 4, "cols": 100, "spellcheck": "false"}
        ),
    )

    #: The field that decides on the connector.
    decided_by = ""

    @classmethod
    def connector_of(cls, sent: Mapping[str, Any], instance: Any) -> str:
        """Return the connector that was chosen; "" before one is."""
        raise NotImplementedError

    @classmethod
    def declared(cls, connector_key: str) -> tuple[Field, ...]:
        """Return the settings that the connector declares for this kind of row."""
        raise NotImplementedError

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fields_of_connector: dict[str, Field] = {}
        self._document_widget: forms.Widget | None = None
        if "settings" not in self.fields:
            return  # an old version, to read
        sent = self.data if self.is_bound else self.initial
        self._connector_key = self.connector_of(sent, self.instance)
        self._stored: dict[str, Any] = dict(self.instance.settings or {})
        left = dict(self._stored)
        self._is_answered = not self.is_bound or (
            self.data.get("settings_of") == self._connector_key
        )
        typed = str(self.data.get("settings", "")) if self.is_bound else ""
        for field in self.declared(self._connector_key):
            value = left.get(field.name, _UNSET)
            if value is not _UNSET and _fits(field, value):
                del left[field.name]
            else:
                value = _UNSET  # what a field can't show stays in the JSON
            made = _made(field, value)
            made.required = (
                field.required
                and field.kind != "flag"
                and self._is_answered
                and field.name not in left
                and f'"{field.name}"' not in typed
            )
            self.fields[PREFIX + field.name] = made
            self._fields_of_connector[field.name] = field
        self.initial["settings"] = left
        self.initial["settings_of"] = self._connector_key
        if not self._is_answered:  # the page that follows shows them
            given: Any = self.data
            self.data = given = given.copy()
            given["settings_of"] = self._connector_key
        if not left and typed.strip() in ("", "{}"):
            self._document_widget = self.fields["settings"].widget
            self.fields["settings"].widget = forms.HiddenInput()

    def clean(self) -> dict[str, Any]:
        """Put the fields together into `settings`."""
        found: dict[str, Any] = super().clean() or {}
        if "settings" not in found:
            self._show_document()
            return found
        other: dict[str, Any] = found["settings"]
        if not self._is_answered:
            self._ask_first(other)
        settings = dict(other)
        for name, field in self._fields_of_connector.items():
            key = PREFIX + name
            if key not in found:
                continue
            value = self._value(field, found[key])
            if name in other and value is not _UNSET and key in self.changed_data:
                self.add_error("settings", f'"{name}" has a field above: take it out here.')
                self._show_document()
            if value is not _UNSET and (name not in other or key in self.changed_data):
                settings[name] = value
        found["settings"] = settings
        return found

    def _ask_first(self, other: Mapping[str, Any]) -> None:
        """Show the fields of the connector that was chosen just now, before anything is saved."""
        if self._fields_of_connector and not other and self.decided_by in self.fields:
            self.add_error(
                self.decided_by,
                "Its settings are asked for below now: fill in what is needed, and save again.",
            )
            for name, field in self._fields_of_connector.items():
                self.fields[PREFIX + name].required = field.required and field.kind != "flag"

    def _value(self, field: Field, given: Any) -> Any:
        """Return what is stored for what was given; _UNSET for nothing."""
        stored = self._stored.get(field.name, _UNSET)
        if stored is not _UNSET and _fits(field, stored):
            shown = _shown(field, stored)
            same = given == (_plain(shown) if isinstance(shown, str) else shown)
            if same or (isinstance(given, str) and _plain(given) == _plain(str(shown))):
                return stored
        if field.kind == "flag":
            return bool(given) if given or stored is not _UNSET else _UNSET
        if given in (None, ""):
            return _UNSET
        if field.kind == "list":
            lines = [line.strip() for line in given.splitlines()]
            return [line for line in lines if line] or _UNSET
        return _plain(given) if field.kind == "lines" else given

    def fault(self, sentence: str) -> None:
        """Show what is wrong with the settings: at the field that the sentence names."""
        if not sentence.startswith("Unknown"):
            for name in self._fields_of_connector:
                if re.search(rf"[\"“'`]{re.escape(name)}[\"”'`]", sentence):
                    if PREFIX + name not in self.errors:
                        self.add_error(PREFIX + name, sentence)
                    return
        self.add_error("settings", sentence)
        self._show_document()

    def _show_document(self) -> None:
        if self._document_widget is not None:
            self.fields["settings"].widget = self._document_widget


class SettingsAdmin(ConfigurationAdmin):
    """An admin of a SettingsForm: the declared fields stand where `settings` does."""

    def get_form(self, request: HttpRequest, obj: Any = None, **more: Any) -> Any:
        """Return the form's class, made without the fields that only a connector knows."""
        more["fields"] = flatten_fieldsets(super().get_fieldsets(request, obj))
        return super().get_form(request, obj, **more)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups of fields, with those of the connector that was chosen."""
        parts = super().get_fieldsets(request, obj)
        if getattr(request, "_looks_back", False) or not self.has_change_permission(request, obj):
            return [
                (title, {**part, "fields": [one for one in part["fields"] if one != "settings_of"]})
                for title, part in parts
            ]
        form: Any = self.form
        sent = request.POST if request.method == "POST" else {} if obj else request.GET
        names = [PREFIX + field.name for field in form.declared(form.connector_of(sent, obj))]
        return [
            (title, {**part, "fields": _beside(part["fields"], names)}) for title, part in parts
        ]


def _beside(fields: Sequence[Any], names: Sequence[str]) -> list[Any]:
    found: list[Any] = []
    for field in fields:
        found += [*names, field] if field == "settings" else [field]
    return found


def _fits(field: Field, value: Any) -> bool:
    """Return whether a field of this kind can show the value and give it back."""
    if field.kind == "number":
        return isinstance(value, int) and not isinstance(value, bool)
    if field.kind == "flag":
        return isinstance(value, bool)
    if field.kind == "list":
        return isinstance(value, list) and all(
            isinstance(text, str) and len(text.splitlines()) == 1 and text == text.strip()
            for text in value
        )
    return isinstance(value, str) and (field.kind == "lines" or len(value.splitlines()) <= 1)


def _shown(field: Field, value: Any) -> Any:
    return "\n".join(value) if field.kind == "list" else value


def _plain(text: str) -> str:
    """Return the text as it was before a browser sent it."""
    return text.replace("\r\n", "\n").strip()


def _made(field: Field, value: Any) -> forms.Field:
    """Return the form's field for a declared one."""
    told: dict[str, Any] = {
        "label": field.label,
        "help_text": field.help,
        "initial": None if value is _UNSET else _shown(field, value),
    }
    if field.choices:
        known = dict.fromkeys([*field.choices, *([value] if isinstance(value, str) else [])])
        return forms.ChoiceField(
            choices=[_NOT_SAID, *((choice, choice) for choice in known if choice)], **told
        )
    make: Callable[..., forms.Field] = _KINDS[field.kind]
    return make(**told)


def _text(**told: Any) -> forms.Field:
    return forms.CharField(
        max_length=LONGEST_CHARACTERS, widget=forms.TextInput(attrs={"class": "vTextField"}), **told
    )


def _list(**told: Any) -> forms.Field:
    told["help_text"] = f"{told['help_text']} One a line."
    return forms.CharField(
        max_length=LONGEST_CHARACTERS, widget=forms.Textarea(attrs={"rows": 3, "cols": 60}), **told
    )


def _lines(**told: Any) -> forms.Field:
    attributes = {"rows": 6, "cols": 80, "spellcheck": "false"}
    return forms.CharField(
        strip=False, max_length=LONGEST_CHARACTERS, widget=forms.Textarea(attrs=attributes), **told
    )


_KINDS: Mapping[str, Callable[..., forms.Field]] = {
    "text": _text,
    "number": forms.IntegerField,
    "flag": forms.BooleanField,
    "list": _list,
    "lines": _lines,
}
