"""People, directory groups and memberships. All of it is configuration with history.

A group may carry a portal role: its members are then compliance admins or operators of the portal.
Nothing here decides on requests.
"""

import uuid
import zoneinfo
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower
from simple_history.models import HistoricalRecords

NAME = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9._@+-]*\Z",
    "Use letters, digits and . _ @ + - only, beginning with a letter or a digit.",
)


def validate_timezone(name: str) -> None:
    """Accept an IANA timezone name. Raises: ValidationError."""
    if name and name not in zoneinfo.available_timezones():
        raise ValidationError(f"“{name}” is not a timezone. Use a name such as Europe/Berlin.")


class UserManager(BaseUserManager["User"]):
    """Creates people; the first operator comes from `createsuperuser`."""

    def get_by_natural_key(self, username: str | None) -> "User":
        """Find a person by login name, whatever its case. Raises: User.DoesNotExist."""
        return self.get(username__iexact=username)

    def create_user(
        self, username: str, email: str, password: str | None = None, **fields: Any
    ) -> "User":
        """Create a person. Without a password they can't sign in with one."""
        user = self.model(username=username, email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(
        self, username: str, email: str, password: str | None = None, **fields: Any
    ) -> "User":
        """Create a person and make them an operator of the portal."""
        user = self.create_user(username, email, password, **fields)
        group, _ = Group.objects.get_or_create(
            name="operators", defaults={"role": Group.Role.OPERATOR, "title": "Portal operators"}
        )
        Membership.objects.create(person=user, group=group)
        return user


class User(AbstractBaseUser):
    """A person. Leavers are deactivated, never deleted: records name them."""

    hidden_from_auditor = frozenset({"password"})

    last_login = None
    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    username = models.CharField(max_length=100, unique=True, validators=[NAME])
    email = models.EmailField()
    name = models.CharField(max_length=200, help_text="As colleagues write it.")
    title = models.CharField(max_length=200, blank=True, help_text="What they do.")
    manager = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="reports"
    )
    timezone = models.CharField(max_length=64, blank=True, validators=[validate_timezone])
    is_active = models.BooleanField("active", default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()
    history = HistoricalRecords(excluded_fields=["password"])

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["email"]

    class Meta:
        verbose_name = "person"
        verbose_name_plural = "people"
        constraints: ClassVar = [
            models.UniqueConstraint(Lower("username"), name="user_username_any_case"),
            models.UniqueConstraint(
                Lower("email"), name="user_email_any_case", condition=~models.Q(email="")
            ),
            models.CheckConstraint(
                condition=~models.Q(manager=models.F("id")), name="user_not_own_manager"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["manager"], name="user_manager")]

    def __str__(self) -> str:
        return self.get_full_name()

    def get_full_name(self) -> str:
        """Return the name, or the login name where there is none."""
        return self.name or self.username

    def get_short_name(self) -> str:
        """Return the first word of the name."""
        return self.get_full_name().split()[0]

    @property
    def initials(self) -> str:
        """Return one or two letters for an avatar."""
        parts = self.get_full_name().split()
        return "".join(part[0] for part in (parts[:1] + parts[1:][-1:])).upper()

    @property
    def roles(self) -> frozenset[str]:
        """Return the portal roles that this person's groups carry; none for the inactive."""
        if not self.is_active or self.pk is None:
            return frozenset()
        cached: frozenset[str] | None = self.__dict__.get("_roles")
        if cached is None:
            cached = frozenset(
                Group.objects.filter(members__person=self)
                .exclude(role="")
                .values_list("role", flat=True)
            )
            self.__dict__["_roles"] = cached
        return cached

    @property
    def is_operator(self) -> bool:
        """Return whether this person configures the portal."""
        return Group.Role.OPERATOR in self.roles

    @property
    def is_compliance(self) -> bool:
        """Return whether this person reads everything for reports and audits."""
        return Group.Role.COMPLIANCE in self.roles

    @property
    def is_staff(self) -> bool:
        """Return whether the Django admin opens: for operators."""
        return self.is_operator

    @property
    def is_superuser(self) -> bool:
        """Return whether every configuration may be changed: operators. Records never may."""
        return self.is_operator

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Return whether an operator; the admin classes of records refuse changes to all."""
        return self.is_operator

    def has_perms(self, perms: Any, obj: object = None) -> bool:
        """Return whether an operator."""
        return self.is_operator

    def has_module_perms(self, app_label: str) -> bool:
        """Return whether an operator."""
        return self.is_operator


class Group(models.Model):
    """A directory group: makes its members eligible, approvers, or bearers of a portal role."""

    class Role(models.TextChoices):
        """What a group's members may do in the portal besides their own requests."""

        COMPLIANCE = "compliance", "Compliance: reads every record and report"
        OPERATOR = "operator", "Operator: configures the portal"

    name = models.CharField(max_length=100, unique=True, validators=[NAME])
    title = models.CharField(max_length=200, blank=True)
    role = models.CharField(max_length=20, blank=True, choices=Role.choices)
    history = HistoricalRecords()

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.title or self.name


class Membership(models.Model):
    """A person in a group: standing, or for the time of a grant (`granted_by`)."""

    person = models.ForeignKey(User, models.PROTECT, related_name="memberships")
    group = models.ForeignKey(Group, models.PROTECT, related_name="members")
    granted_by = models.UUIDField(
        null=True, blank=True, editable=False, help_text="The request whose grant made it."
    )
    history = HistoricalRecords()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["person", "group"], name="membership_once")
        ]

    def __str__(self) -> str:
        return f"{self.person} in {self.group}"


class PublicKey(models.Model):
    """A public SSH key of a person: one line as OpenSSH writes it."""

    person = models.ForeignKey(User, models.PROTECT, related_name="public_keys")
    text = models.TextField()
    fingerprint = models.CharField(max_length=100, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords()

    class Meta:
        verbose_name = "SSH key"
        verbose_name_plural = "SSH keys"

    def __str__(self) -> str:
        return self.fingerprint
