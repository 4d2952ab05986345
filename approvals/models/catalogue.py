"""What can be asked for, and under which policy: resources, entitlements, policies.

Configuration is changed in place and keeps its history (`django-simple-history`); the history's
rows are as append-only as records are. A request pins the history row of the policy it came under.
"""

from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from simple_history.models import HistoricalRecords

from approvals.directory.models import NAME, User
from approvals.domain import policy as policies

SECRET_REFERENCE = RegexValidator(
    r"\A(env:[A-Za-z_][A-Za-z0-9_]*|file:/[^\0]+)\Z",
    "Refer to the secret as env:NAME or file:/path; the secret itself is never stored here.",
)


class Risk(models.TextChoices):
    """How much harm an entitlement can do."""

    LOW = "low", "Low"
    MEDIUM = "medium", "Medium"
    HIGH = "high", "High"


class DriftPolicy(models.TextChoices):
    """What follows when a target differs from what the portal granted."""

    REPAIR = "repair", "Remove what has ended, make again what is missing"
    REPORT = "report", "Report it only"


class Policy(models.Model):
    """Who may ask for what, for how long and by which chain (see domain.policy for the document).

    `version` counts the saves; with the history row it names exactly what was in force.
    """

    name = models.CharField(max_length=100, unique=True, validators=[NAME])
    description = models.CharField(max_length=500, blank=True)
    document = models.JSONField(help_text="Rules in order; see docs/policies.md.")
    version = models.PositiveIntegerField(default=0, editable=False)
    history = HistoricalRecords()

    class Meta:
        verbose_name_plural = "policies"
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Check the document. Raises: ValidationError that names the path of the mistake."""
        try:
            policies.parse(self.document)
        except policies.PolicyError as error:
            raise ValidationError({"document": str(error)}) from error

    def save(self, *args: Any, **options: Any) -> None:
        """Save as the next version. Raises: ValidationError when the document is not a policy."""
        self.clean()
        self.version += 1
        if (fields := options.get("update_fields")) is not None:
            options["update_fields"] = {*fields, "version"}
        super().save(*args, **options)


class Resource(models.Model):
    """A target system, reached by a connector. Its secret is a reference, never a value."""

    name = models.CharField(max_length=100, unique=True, validators=[NAME])
    title = models.CharField(max_length=200, blank=True, help_text="PostgreSQL · prod")
    description = models.TextField(blank=True)
    connector = models.CharField(max_length=50, help_text="Which connector makes the access.")
    settings = models.JSONField(default=dict, blank=True)
    secret = models.CharField(max_length=500, blank=True, validators=[SECRET_REFERENCE])
    owner = models.ForeignKey(User, models.PROTECT, related_name="owned_resources")
    connect_hint = models.TextField(blank=True, help_text="Shown beside how to connect.")
    is_retired = models.BooleanField(
        "retired", default=False, help_text="Pending requests are cancelled, live access ends."
    )
    drift_policy = models.CharField(
        "when the target differs",
        max_length=10,
        choices=DriftPolicy.choices,
        default=DriftPolicy.REPAIR,
        help_text="What nobody was ever granted here is listed, and never removed by itself.",
    )
    history = HistoricalRecords()

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class Entitlement(models.Model):
    """A role on a resource that can be granted. Without a policy nobody may ask for it."""

    resource = models.ForeignKey(Resource, models.PROTECT, related_name="entitlements")
    name = models.CharField(max_length=100, validators=[NAME])
    description = models.CharField(max_length=500, blank=True, help_text="What it lets one do.")
    risk = models.CharField(max_length=10, choices=Risk.choices)
    policy = models.ForeignKey(
        Policy, models.PROTECT, null=True, blank=True, related_name="entitlements"
    )
    settings = models.JSONField(default=dict, blank=True)
    keywords = models.CharField(max_length=500, blank=True, help_text="Other words to find it by.")
    is_retired = models.BooleanField("retired", default=False)
    history = HistoricalRecords()

    class Meta:
        ordering: ClassVar = ["resource__name", "name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["resource", "name"], name="entitlement_once"),
            models.UniqueConstraint(
                fields=["resource", "settings"],
                condition=~models.Q(settings={}),
                name="entitlement_grants_its_own",
                violation_error_message=(
                    "Another entitlement of this resource grants the same thing: ending one would "
                    "take it from the other."
                ),
            ),
            models.CheckConstraint(
                condition=models.Q(risk__in=Risk.values), name="entitlement_risk_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.resource.name} · {self.name}"
