"""A person's notice centre: what stands in it, what they chose. No records: it goes with them."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from approvals.directory.models import User
from approvals.models.evidence import Notice


class NoticeEntry(models.Model):
    """A line of a person's notice centre: a notice of the channel "portal", read or not.

    `asks` is whether it asks for a decision. `digest_at` is when the digest is due that it waits
    for, null where it waits for none.
    """

    notice = models.OneToOneField(Notice, models.PROTECT, primary_key=True, related_name="entry")
    person = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    request_id = models.UUIDField(null=True)
    asks = models.BooleanField()
    read_at = models.DateTimeField(null=True)
    digest_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["person", "-notice"], name="notice_entry_newest"),
            models.Index(
                fields=["person", "-notice"],
                name="notice_entry_unread",
                condition=models.Q(read_at__isnull=True),
            ),
            models.Index(
                fields=["request_id"],
                name="notice_entry_asks",
                condition=models.Q(read_at__isnull=True, asks=True),
            ),
            models.Index(
                fields=["person", "notice"],
                name="notice_entry_digest",
                condition=models.Q(digest_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.notice_id} for {self.person_id}"


class NoticePreferences(models.Model):
    """What a person chose about notices; there is no row for those who chose nothing.

    `modes` are by the key of a sort (`domain.notices`). Quiet hours are local times, null for none;
    their weekdays (Monday is 0) are those on which they begin.
    """

    person = models.OneToOneField(User, models.CASCADE, primary_key=True, related_name="+")
    modes = models.JSONField(default=dict)
    quiet_begins = models.TimeField(null=True)
    quiet_ends = models.TimeField(null=True)
    quiet_weekdays = ArrayField(models.PositiveSmallIntegerField(), default=list)
    digest_hour = models.PositiveSmallIntegerField(default=8)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(quiet_begins__isnull=True, quiet_ends__isnull=True)
                | models.Q(quiet_begins__isnull=False, quiet_ends__isnull=False),
                name="notice_quiet_both",
            ),
            models.CheckConstraint(
                condition=models.Q(digest_hour__lte=23), name="notice_digest_hour"
            ),
        ]

    def __str__(self) -> str:
        return f"of {self.person_id}"
