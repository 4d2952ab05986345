"""Who is in which group: the list of all memberships, and what people's and groups' forms show."""

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from approvals.admin.configuration import (
    LOCKED_OUT,
    AnyModelForm,
    ConfigurationAdmin,
    LastOperatorError,
)
from approvals.models import Membership
from approvals.selectors import people

if TYPE_CHECKING:
    MembershipInline = admin.TabularInline[Membership, Any]
    AnyFilter = admin.SimpleListFilter
else:
    MembershipInline, AnyFilter = admin.TabularInline, admin.SimpleListFilter

#: Memberships that are removed at one stroke at most.
TOGETHER_MOST = 500


def _request(row: Membership) -> str:
    """Return a link to the request that made a membership."""
    address = reverse("request", args=[row.granted_by])
    return format_html('<a href="{}">{}</a>', address, row.granted_by)


class RowForm(AnyModelForm):
    """A membership in somebody's or a group's form, which does not show all that there are."""

    def clean(self) -> dict[str, Any]:
        """Refuse a second membership of the same person and group, whichever made the first."""
        found: dict[str, Any] = super().clean() or {}
        person, group = found.get("person"), found.get("group")
        if self.has_changed() and person and person.pk and group and group.pk:
            rows = Membership.objects.filter(person=person, group=group)
            if rows.exclude(pk=self.instance.pk).exists():
                raise forms.ValidationError(f"{person} is in {group} already.")
        return found


class StandingMemberships(MembershipInline):
    """A person's memberships that last until somebody removes them here."""

    model = Membership
    verbose_name = "standing membership"
    verbose_name_plural = "standing memberships"
    form = RowForm
    fields = ("person", "group")
    autocomplete_fields = ("person",)
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        """Return the rows that no grant has made."""
        return super().get_queryset(request).filter(granted_by=None).select_related("person")


class TimedMemberships(MembershipInline):
    """A person's memberships that a grant has made: shown, and ended on the request's page."""

    model = Membership
    verbose_name = "membership by a grant"
    verbose_name_plural = "memberships by grants, which end on the request's page"
    fields = ("person", "group", "request")
    readonly_fields = ("person", "group", "request")
    extra = 0
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        """Return the rows that grants have made."""
        return super().get_queryset(request).exclude(granted_by=None).select_related("person")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: grants add them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: grants keep them."""
        return False

    @admin.display(description="Request")
    def request(self, row: Membership) -> str:
        """Return a link to the request."""
        return _request(row)


class NewMembers(MembershipInline):
    """Adds members to a group. Those who are in it, maybe thousands, are listed elsewhere."""

    model = Membership
    verbose_name = "new member"
    verbose_name_plural = "new members"
    form = RowForm
    fields = ("person",)
    autocomplete_fields = ("person",)
    extra = 1
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        """Return no rows."""
        return super().get_queryset(request).none()


class KindFilter(AnyFilter):
    """What stands until it is removed, and what ends with a grant."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the two choices."""
        return [("standing", "Standing"), ("granted", "By a grant")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return what was chosen, all where nothing was."""
        if self.value() not in ("standing", "granted"):
            return queryset
        return queryset.filter(granted_by__isnull=self.value() == "standing")


class RemovalForm(ActionForm):
    """What is to be done with the chosen memberships, and why."""

    change_reason = forms.CharField(
        label="Why:",
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )


@admin.register(Membership)
class MembershipAdmin(ConfigurationAdmin):
    """Memberships: standing ones are added and removed here, those by grants are shown."""

    autocomplete_fields = ("person", "group")
    fieldsets = ((None, {"fields": ("person", "group", "kind")}),)
    add_fieldsets = ((None, {"fields": ("person", "group", "change_reason")}),)
    readonly_fields = ("kind",)
    list_display = ("who", "login", "group", "kind")
    list_select_related = ("person", "group")
    list_filter = (KindFilter, "group")
    search_fields = (
        "person__username", "person__name", "person__email", "group__name", "group__title",
    )  # fmt: skip
    ordering: ClassVar = ["person__username", "group__name"]
    actions = ("remove",)
    action_form = RemovalForm

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: a membership is added or removed."""
        return False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields in groups; who adds one is asked why."""
        return super().get_fieldsets(request, obj) if obj else self.add_fieldsets

    @admin.display(description="Person", ordering="person__name")
    def who(self, row: Membership) -> str:
        """Return the person's name."""
        return str(row.person)

    @admin.display(description="Login name", ordering="person__username")
    def login(self, row: Membership) -> str:
        """Return the person's login name."""
        return row.person.username

    @admin.display(description="Kind", ordering="granted_by")
    def kind(self, row: Membership) -> str:
        """Return whether it stands until it is removed, or the request that made it."""
        return format_html("by the grant {}", _request(row)) if row.granted_by else "standing"

    @admin.action(description="Remove from the group")
    def remove(self, request: HttpRequest, chosen: QuerySet[Membership]) -> None:
        """Remove what stands of the chosen memberships, with one reason; all or nothing."""
        if chosen.count() > TOGETHER_MOST:
            said = f"Nothing was changed: remove at most {TOGETHER_MOST} at one stroke."
            self.message_user(request, said, messages.ERROR)
            return
        try:
            count, kept = self._remove(request, chosen)
        except LastOperatorError:
            self.message_user(request, LOCKED_OUT, messages.ERROR)
            return
        said = f"{count} membership{'' if count == 1 else 's'} removed."
        if kept:
            said += f" {kept} made by grants: end those on the requests' pages."
        self.message_user(request, said, messages.SUCCESS if count else messages.WARNING)

    @transaction.atomic
    def _remove(self, request: HttpRequest, chosen: QuerySet[Membership]) -> tuple[int, int]:
        """Return how many were removed, and how many stay since grants keep them.

        Raises: LastOperatorError, which undoes everything.
        """
        held = list(chosen.order_by("pk").select_for_update(of=("self",)))
        rows = [row for row in held if row.granted_by is None]
        self.log_deletions(request, rows)
        for row in rows:
            row._change_reason = request.POST.get("change_reason", "").strip() or None  # type: ignore[attr-defined]
            row._history_user = request.user  # type: ignore[attr-defined]
            row.delete()
        if not people.standing_operators():
            raise LastOperatorError
        return len(rows), len(held) - len(rows)
