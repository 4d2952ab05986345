"""Resources, entitlements and policies: what can be asked for, and under which rules."""

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from approvals.admin.configuration import ConfigurationAdmin, ReasonedForm
from approvals.admin.connector_fields import SettingsAdmin, SettingsForm
from approvals.admin.policies import PolicyField, as_list
from approvals.models import Entitlement, Policy, Resource
from approvals.services import connector_forms, provisioning

_EXAMPLE = {
    "rules": [
        {
            "name": "Changing data",
            "groups": ["eng", "sre"],
            "longest": "8h",
            "ticket": False,
            "reason_min": 10,
            "levels": [
                {
                    "name": "Manager",
                    "from": [{"kind": "manager"}],
                    "fallback": [{"kind": "owner"}],
                    "quorum": 1,
                    "within": "4h",
                    "remind": "1h",
                    "escalate": [
                        {"to": [{"kind": "manager", "of": 2}], "within": "4h", "keep": True}
                    ],
                },
                {
                    "name": "Data owners",
                    "from": [{"kind": "group", "name": "data-owners"}],
                    "quorum": 1,
                    "within": "4h",
                },
            ],
        }
    ]
}


class PolicyForm(ReasonedForm):
    """A policy with its document."""

    document = PolicyField(
        help_text=format_html(
            "Rules in order; the first one that fits the person's groups and the duration decides. "
            "Times are written as <code>4h</code>, <code>90m</code> or <code>1d</code>; a bare "
            "number is seconds. Where approvers come from: <code>manager</code> (with "
            "<code>of</code> 2: the manager's manager), <code>owner</code> of the resource, "
            "<code>group</code> and <code>person</code> with a <code>name</code>. "
            "<code>auto_approve</code> instead of <code>levels</code> works for low risk only. "
            "<code>everyone</code> instead of <code>groups</code> lets all ask."
            "<details><summary>An example</summary><pre>{}</pre></details>",
            json.dumps(_EXAMPLE, indent=2),
        )
    )

    class Meta:
        model = Policy
        fields = ("name", "description", "document")


@admin.register(Policy)
class PolicyAdmin(ConfigurationAdmin):
    """Policies. A request keeps to the version it was sent under, and to today's where stricter."""

    form = PolicyForm
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "name",
                    "description",
                    "document",
                    "rules",
                    "version",
                    "change_reason",
                ),
                "description": "Each save is a new version. Requests that wait keep the chain of "
                "the version that they were sent under; approvals must be allowed by today's too.",
            },
        ),
    )
    readonly_fields = ("rules", "version")
    list_display = ("name", "description", "version", "used_by")
    search_fields = ("name", "description")
    history_list_display = ("version",)

    @admin.display(description="As it is saved")
    def rules(self, policy: Policy) -> str:
        """Return the rules with their levels, as they were saved last."""
        return as_list(policy.document) or "–"

    @admin.display(description="Used by")
    def used_by(self, policy: Policy) -> str:
        """Return the entitlements under this policy."""
        names = [str(row) for row in policy.entitlements.select_related("resource")]
        return ", ".join(names) or "nothing"


class ResourceForm(SettingsForm):
    """A resource, whose connector judges its settings."""

    connector = forms.ChoiceField(
        help_text="How access is made and removed there. What it needs to know is asked for when "
        "this is saved."
    )
    decided_by = "connector"

    class Meta:
        model = Resource
        fields = (
            "name", "title", "description", "owner", "connector", "settings", "secret",
            "connect_hint", "drift_policy", "is_retired",
        )  # fmt: skip

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "connector" in self.fields:
            field = self.fields["connector"]
            assert isinstance(field, forms.ChoiceField)
            field.choices = [("", "---------"), *provisioning.choices()]
        if "secret" in self.fields:
            self.fields["secret"].help_text = (
                "Where the workers find the secret: env:NAME or file:/path. The secret itself is "
                "never stored here."
            )

    @classmethod
    def connector_of(cls, sent: Mapping[str, Any], instance: Resource | None) -> str:
        """Return the connector that was chosen; "" before one is."""
        return str(sent.get("connector") or (instance.connector if instance else ""))

    @classmethod
    def declared(cls, connector_key: str) -> tuple[connector_forms.Field, ...]:
        """Return the settings of such a resource."""
        return connector_forms.resource_fields(connector_key)

    def clean(self) -> dict[str, Any]:
        """Let the connector judge the settings, its entitlements' too."""
        found: dict[str, Any] = super().clean() or {}
        if not {"connector", "settings"} <= found.keys():
            return found
        key, settings = found["connector"], found["settings"]
        for error in provisioning.validate(key, resource_settings=settings):
            self.fault(error)
        rows = self.instance.entitlements.filter(is_retired=False) if self.instance.pk else ()
        for row in rows if not self.errors else ():
            for error in provisioning.validate(
                key, resource_settings=settings, entitlement_settings=row.settings
            ):
                self.add_error("connector", f"The entitlement {row.name} would break: {error}")
        return found


@admin.register(Resource)
class ResourceAdmin(SettingsAdmin):
    """Target systems."""

    form = ResourceForm
    autocomplete_fields = ("owner",)
    fieldsets = (
        (None, {"fields": ("name", "title", "description", "owner")}),
        (
            "The target",
            {
                "fields": (
                    "connector",
                    "settings_of",
                    "settings",
                    "secret",
                    "connect_hint",
                    "drift_policy",
                ),
                "description": "Access that is approved already is removed just where it was made, "
                "whatever is changed here. “Check the target” in the list says whether it answers.",
            },
        ),
        (
            None,
            {
                "fields": ("is_retired", "change_reason"),
                "description": "Resources are never deleted, since records name them. Retire them.",
            },
        ),
    )
    list_display = ("name", "title", "kind", "owner", "is_retired")
    list_select_related = ("owner",)
    list_filter = ("connector", "is_retired")
    search_fields = ("name", "title", "description")
    actions = ("check_target",)

    @admin.display(description="Connector", ordering="connector")
    def kind(self, resource: Resource) -> str:
        """Return the connector's title."""
        return provisioning.describe(resource.connector)[0]

    @admin.action(description="Check the target")
    def check_target(self, request: HttpRequest, chosen: QuerySet[Resource]) -> None:
        """Ask each chosen target whether it answers and lets the portal work; tell what it says."""
        for resource in chosen:
            health = provisioning.check(resource)
            took = f" ({health.latency_ms:.0f} ms)" if health.latency_ms is not None else ""
            self.message_user(
                request,
                f"{resource}: {health.message}{took}",
                messages.SUCCESS if health.ok else messages.ERROR,
            )


class EntitlementForm(SettingsForm):
    """An entitlement, whose resource's connector judges its settings."""

    decided_by = "resource"

    class Meta:
        model = Entitlement
        fields = (
            "resource", "name", "description", "keywords", "risk", "policy", "settings",
            "is_retired",
        )  # fmt: skip

    @classmethod
    def connector_of(cls, sent: Mapping[str, Any], instance: Entitlement | None) -> str:
        """Return the connector of the resource that was chosen; "" before one is."""
        chosen: Any = sent.get("resource") or (instance.resource_id if instance else None)
        try:
            row = Resource.objects.filter(pk=getattr(chosen, "pk", chosen)).first()
        except (ValueError, OverflowError):
            return ""
        return row.connector if row else ""

    @classmethod
    def declared(cls, connector_key: str) -> tuple[connector_forms.Field, ...]:
        """Return the settings of an entitlement there."""
        return connector_forms.entitlement_fields(connector_key)

    def clean(self) -> dict[str, Any]:
        """Let the connector judge the settings."""
        found: dict[str, Any] = super().clean() or {}
        if {"resource", "settings"} <= found.keys():
            resource: Resource = found["resource"]
            for error in provisioning.validate(
                resource.connector,
                resource_settings=resource.settings,
                entitlement_settings=found["settings"],
            ):
                self.fault(error)
        return found


@admin.register(Entitlement)
class EntitlementAdmin(SettingsAdmin):
    """Roles on resources that can be asked for."""

    form = EntitlementForm
    fieldsets = (
        (None, {"fields": ("resource", "name", "description", "keywords")}),
        (
            None,
            {
                "fields": ("risk", "policy", "settings_of", "settings"),
                "description": "Without a policy nobody may ask for it.",
            },
        ),
        (
            None,
            {
                "fields": ("is_retired", "change_reason"),
                "description": "Entitlements are never deleted, since records name them. Retire "
                "them: pending requests are cancelled, live access ends.",
            },
        ),
    )
    list_display = ("__str__", "description", "risk", "policy", "is_retired")
    list_select_related = ("resource", "policy")
    list_filter = ("risk", "is_retired", "resource")
    search_fields = ("name", "resource__name", "description", "keywords")
