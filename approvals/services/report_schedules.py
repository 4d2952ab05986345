"""How schedules of reports let a person go who is to be erased."""

from approvals.models import ReportSchedule, User


def forget(person: User, *, reason: str) -> None:
    """Remove a person's schedules, and them from the recipients of others', with the reason.

    In the running transaction. Their saved reports go with the erasure itself.
    """
    held = ReportSchedule.objects.select_for_update()
    for schedule in held.filter(owner=person):
        schedule._change_reason = reason  # type: ignore[attr-defined]
        schedule.delete()
    for schedule in held.filter(recipients__contains=person.pk):
        schedule.recipients = [pk for pk in schedule.recipients if pk != person.pk]
        schedule._change_reason = reason  # type: ignore[attr-defined]
        schedule.save()
