"""People, groups and who is in them."""

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import (
    AdminPasswordChangeForm,
    AdminUserCreationForm,
    ReadOnlyPasswordHashField,
)
from django.db.models import Count, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from approvals.admin.configuration import ConfigurationAdmin, ReasonedForm
from approvals.admin.memberships import NewMembers, StandingMemberships, TimedMemberships
from approvals.models import Group, User

if TYPE_CHECKING:
    AddForm = AdminUserCreationForm[User]
    SetForm = AdminPasswordChangeForm[User]
else:
    AddForm, SetForm = AdminUserCreationForm, AdminPasswordChangeForm

_NEVER_DELETED = (
    "People are never deleted, since records name them. Deactivate whoever has left: their access "
    "ends at once, their requests are cancelled, and what waited for them moves on."
)


class PersonForm(ReasonedForm):
    """A person who exists."""

    password = ReadOnlyPasswordHashField(
        label="Password",
        help_text="Passwords are not stored, only what checks them.",
    )

    class Meta:
        model = User
        fields = ("username", "email", "name", "title", "manager", "timezone", "is_active")


class PersonAddForm(AddForm):
    """A person who is new. Without a password they sign in another way, or not yet."""

    change_reason = forms.CharField(
        label="Why", required=False, max_length=500, help_text="Stands in the history."
    )

    class Meta:
        model = User
        fields = ("username", "email", "name", "title", "manager", "timezone")


class PasswordForm(SetForm):
    """Sets a person's password and says so in the history."""

    def save(self, commit: bool = True) -> Any:  # noqa: FBT002 - Django's signature
        """Save the new password."""
        self.user._change_reason = "An operator set the password."  # type: ignore[attr-defined]
        return super().save(commit)


@admin.register(User)
class PersonAdmin(ConfigurationAdmin, UserAdmin):  # type: ignore[misc,type-arg]
    """People."""

    form = PersonForm
    add_form = PersonAddForm
    change_password_form = PasswordForm
    autocomplete_fields = ("manager",)
    fieldsets = (
        (
            None,
            {
                "fields": ("username", "password", "name", "title", "email", "manager", "timezone"),
                "description": _NEVER_DELETED,
            },
        ),
        (None, {"fields": ("is_active", "change_reason")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "fields": (
                    "username", "name", "title", "email", "manager", "timezone",
                    "usable_password", "password1", "password2", "change_reason",
                )
            },
        ),
    )  # fmt: skip
    inlines = (StandingMemberships, TimedMemberships)
    list_display = ("username", "name", "title", "manager", "is_active")
    list_display_links = ("username", "name")
    list_select_related = ("manager",)
    list_filter = ("is_active", "memberships__group")
    search_fields = ("username", "name", "email", "title")
    filter_horizontal = ()
    ordering = ("username",)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        """Return the memberships, once the person exists."""
        return self.inlines if obj else ()


@admin.register(Group)
class GroupAdmin(ConfigurationAdmin):
    """Groups: who may ask, who decides, who audits and who configures."""

    fieldsets = (
        (
            None,
            {
                "fields": ("name", "title", "role", "listed", "change_reason"),
                "description": "Policies name groups. A role makes the members compliance or "
                "operators of this portal. Groups are never deleted: remove the members.",
            },
        ),
    )
    readonly_fields = ("listed",)
    inlines = (NewMembers,)
    list_display = ("name", "title", "role", "members")
    list_filter = ("role",)
    search_fields = ("name", "title")
    ordering: ClassVar = ["name"]

    @admin.display(description="Members")
    def members(self, group: Group) -> str:
        """Return how many there are, with a link to them."""
        return _members(group, str(group.members.count()))

    @admin.display(description="Members")
    def listed(self, group: Group) -> str:
        """Return how many there are and of which kind, with a link to where they are removed."""
        if group.pk is None:
            return "none yet"
        granted = Count("pk", filter=Q(granted_by__isnull=False))
        found = group.members.aggregate(all=Count("pk"), granted=granted)
        kinds = f"{found['all'] - found['granted']} standing, {found['granted']} by grants"
        return format_html("{}. {}", kinds, _members(group, "Search and remove them"))


def _members(group: Group, text: str) -> str:
    address = reverse("admin:approvals_membership_changelist")
    return format_html('<a href="{}?group__id__exact={}">{}</a>', address, group.pk, text)
