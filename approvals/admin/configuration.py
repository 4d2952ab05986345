"""What all configuration in the admin has in common: history, a reason, no delete, no revert."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from simple_history.admin import SimpleHistoryAdmin

from approvals.selectors import people

if TYPE_CHECKING:
    AnyModelForm = forms.ModelForm[Any]
else:
    AnyModelForm = forms.ModelForm


LOCKED_OUT = "Nothing was changed: no operator would be left. Make somebody else one first."


class LastOperatorError(Exception):
    """A change would leave the portal without anyone who may configure it."""


class ReasonedForm(AnyModelForm):
    """A form that asks why; the answer goes into the history beside the change."""

    change_reason = forms.CharField(
        label="Why",
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text="Stands in the history beside this change.",
    )


class _RefusedForm(AnyModelForm):
    """A form whose changes have turned out to lock everybody out, and were undone."""

    def clean(self) -> dict[str, Any] | None:
        """Refuse it in words."""
        cleaned = super().clean()
        self.add_error(None, LOCKED_OUT)
        return cleaned


class ConfigurationAdmin(SimpleHistoryAdmin):  # type: ignore[misc]
    """Configuration: every save is a version in the history; old versions can be looked at.

    A version is not brought back with a button, since what it named may be gone and versions only
    go forward: operators enter what should hold again, which is checked like any change.
    """

    form = ReasonedForm
    object_history_list_template = "admin/approvals/object_history_list.html"
    history_list_per_page = 50
    list_per_page = 50

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: records name what is configured."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save with its reason and author in the history."""
        obj._change_reason = form.cleaned_data.get("change_reason") or None
        super().save_model(request, obj, form, change)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Save rows that belong to the object with the same reason and author."""
        reason = form.cleaned_data.get("change_reason") or None
        rows = formset.save(commit=False)
        for row in [*rows, *formset.deleted_objects]:
            row._change_reason = reason
            row._history_user = request.user
        for row in formset.deleted_objects:
            row.delete()
        for row in rows:
            row.save()
        formset.save_m2m()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save what belongs to the object. Raises: LastOperatorError, which undoes everything."""
        super().save_related(request, form, formsets, change)
        if self.model._meta.model_name in ("user", "group") and not people.standing_operators():
            raise LastOperatorError

    def changeform_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        """Show or save the form; one that would lock everybody out is shown again, with why."""
        try:
            answer: HttpResponse = super().changeform_view(request, *args, **options)
        except LastOperatorError:
            request._is_refused = True  # type: ignore[attr-defined]
            answer = super().changeform_view(request, *args, **options)
        return answer

    def get_form(self, request: HttpRequest, obj: Any = None, **options: Any) -> Any:
        """Return the form, which refuses everything once its changes had to be undone."""
        form = super().get_form(request, obj, **options)
        if getattr(request, "_is_refused", False):
            return type(form)(form.__name__, (_RefusedForm, form), {})
        return form

    # -- history is for looking at

    def revert_disabled(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return True: see the class."""
        return True

    def history_form_view(
        self,
        request: HttpRequest,
        object_id: str,
        version_id: str,
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one version, to read. Raises: PermissionDenied for anything but looking."""
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        request._looks_back = True  # type: ignore[attr-defined]
        answer: HttpResponse = super().history_form_view(
            request, object_id, version_id, extra_context
        )
        return answer

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        """Return what can't be edited: everything where an old version is looked at."""
        fixed: Sequence[str] = super().get_readonly_fields(request, obj)
        if not getattr(request, "_looks_back", False):
            return fixed
        names = [name for _, part in self.get_fieldsets(request, obj) for name in _flat(part)]
        return list(dict.fromkeys([*fixed, *names]))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields in groups; an old version does not ask for a reason."""
        parts = super().get_fieldsets(request, obj)
        if not getattr(request, "_looks_back", False):
            return parts
        hidden = {"change_reason", "password", "listed"}
        return [
            (name, {**part, "fields": [field for field in _flat(part) if field not in hidden]})
            for name, part in parts
        ]


def _flat(part: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for field in part["fields"]:
        found += [field] if isinstance(field, str) else list(field)
    return found
