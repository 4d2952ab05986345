"""The runs of verification, so that pages can say when the database was last held to its log."""

from typing import ClassVar

from django.db import models

from audit.models.append_only import AppendOnly


class Verification(AppendOnly):
    """One run: who ran it, what it looked at, how it came out, and the first of its problems.

    `root` and `size` are the newest log's, and `note` is its checkpoint of that size; a later run
    expects to find that tree again, if the log's key signed the note. The times are of the process
    that ran; which run is the newest `recorded_at` says, the database's.
    """

    unsealed: ClassVar[str] = "It tells of the log as it was, and is measured by it."

    class Outcome(models.TextChoices):
        """How a run came out."""

        VERIFIED = "verified", "Verified"
        PROBLEMS = "problems", "Problems were found"

    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    by = models.CharField(max_length=200, help_text="Who or what ran it.")
    log = models.CharField(max_length=200, help_text="The newest log's origin.")
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=32)
    note = models.BinaryField(default=bytes, help_text="The checkpoint, signed; empty for none.")
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    problem_count = models.PositiveIntegerField(default=0)
    problems = models.JSONField(default=list, help_text="The first twenty.")
    entries = models.BigIntegerField()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["-recorded_at", "-id"], name="verification_newest"),
            models.Index(fields=["log", "-size"], name="verification_size"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(outcome__in=["verified", "problems"]),
                name="verification_outcome_known",
            )
        ]

    @property
    def sentences(self) -> list[str]:
        """Return what is kept of its problems, for people; rows can be made up, and hold anything.

        What has no sentence is left out.
        """
        kept = self.problems if isinstance(self.problems, list) else []
        said = [each.get("sentence") for each in kept if isinstance(each, dict)]
        return [each for each in said if isinstance(each, str) and each]

    def __str__(self) -> str:
        return f"{self.outcome} {self.size}"
