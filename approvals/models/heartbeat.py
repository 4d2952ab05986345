"""Which processes live, and what trouble there is with them. No records: rows change and go."""

from typing import ClassVar

from django.db import models


class Heartbeat(models.Model):
    """The last sign of life of one process, or of one queue, by the database's clock.

    `kind` says whose it is: `beat` (the one that leads), `standby` (a beat that waits), `queue`
    (`name` is a queue: a message of beat has come through the broker to a worker), or the name of
    the queue that a worker serves. The `name` of a process is its host and its process id.
    """

    kind = models.CharField(max_length=20)
    name = models.CharField(max_length=200)
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()
    version = models.CharField(max_length=100, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "name"], name="heartbeat_once")
        ]
        indexes: ClassVar = [models.Index(fields=["kind", "-beat_at"], name="heartbeat_newest")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Incident(models.Model):
    """Trouble with the processes from when it was noticed until it was over.

    At most one of a `kind` is open. `told_at` is when a mail server took the mail about it, and
    `told_over_at` when it took the one that says that it is over.
    """

    kind = models.CharField(max_length=120)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    told_at = models.DateTimeField(null=True)
    told_over_at = models.DateTimeField(null=True)
    text = models.TextField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind"],
                condition=models.Q(closed_at__isnull=True),
                name="incident_open_once",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["-opened_at", "-id"], name="incident_newest"),
            models.Index(
                fields=["id"],
                name="incident_untold",
                condition=models.Q(told_at__isnull=True, closed_at__isnull=True)
                | models.Q(
                    told_at__isnull=False, closed_at__isnull=False, told_over_at__isnull=True
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} since {self.opened_at:%Y-%m-%d %H:%M:%S}"
