"""Records and the outbox, to look at. Nothing here can be added, changed or deleted by anyone."""

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.timesince import timesince

from approvals.admin.configuration import AnyModelForm, ConfigurationAdmin
from approvals.models import (
    AccessRequest,
    Decision,
    GrantEvent,
    Notice,
    OutboxItem,
    RefusedAttempt,
    ReportExport,
    ReportRun,
    ReportSchedule,
    RequestHandover,
    RequestMessage,
    ReviewCampaign,
    ReviewDecision,
    ReviewItem,
    SignIn,
)
from approvals.selectors import clock
from approvals.services import operations

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
    AnyFilter = admin.SimpleListFilter
else:
    AnyModelAdmin, AnyPaginator = admin.ModelAdmin, Paginator
    AnyFilter = admin.SimpleListFilter

COUNTED_AT_MOST = 10_000


class CappedPaginator(AnyPaginator):
    """Counts up to a limit only, so that a list opens at once however many records there are."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most the limit."""
        rows = cast(QuerySet[Any], self.object_list)
        return rows.order_by()[:COUNTED_AT_MOST].count()


class RecordAdmin(AnyModelAdmin):
    """Rows that were written once: to be read, newest first."""

    paginator = CappedPaginator
    show_full_result_count = False
    ordering: ClassVar[Any] = ("-id",)
    list_per_page = 50
    actions: Any = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: the portal writes records."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: records are never changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: records are never removed."""
        return False

    @admin.display(description="Request")
    def request_page(self, row: Any) -> str:
        """Return a link to the request in the portal."""
        if row.request_id is None:
            return "–"
        return format_html(
            '<a href="{}">{}</a>',
            reverse("request", args=[row.request_id]), row.request_id,
        )  # fmt: skip

    @admin.display(description="Hash")
    def hash_hex(self, row: Any) -> str:
        """Return the revision's hash as people compare it."""
        return bytes(row.hash).hex()

    @admin.display(description="Previous hash")
    def previous_hex(self, row: Any) -> str:
        """Return the hash of the revision before."""
        return bytes(row.previous_hash).hex() if row.previous_hash else "–"


@admin.register(AccessRequest)
class RevisionAdmin(RecordAdmin):
    """Each revision of each request."""

    list_display = (
        "__str__", "occurred_at", "event", "state", "actor_name", "subject_name", "resource_name",
        "entitlement_name",
    )  # fmt: skip
    search_fields = ("request_id__exact",)
    search_help_text = "A request's id, whole."
    readonly_fields = ("hash_hex", "previous_hex", "request_page")


@admin.register(Decision)
class DecisionAdmin(RecordAdmin):
    """Who approved or denied what."""

    list_display = (
        "occurred_at", "actor_name", "verdict", "level_name", "comment", "request_page",
    )  # fmt: skip
    search_fields = ("request_id__exact",)
    search_help_text = "A request's id, whole."


@admin.register(RequestHandover)
class RequestHandoverAdmin(RecordAdmin):
    """Who gave their place on a request to whom, and why."""

    list_display = (
        "occurred_at", "giver_name", "taker_name", "level_name", "comment", "request_page",
    )  # fmt: skip
    search_fields = ("request_id__exact",)
    search_help_text = "A request's id, whole."


@admin.register(RefusedAttempt)
class RefusedAttemptAdmin(RecordAdmin):
    """Who tried to decide what they may not."""

    list_display = ("occurred_at", "actor_name", "action", "rule", "comment", "request_page")
    search_fields = ("request_id__exact",)
    search_help_text = "A request's id, whole."


@admin.register(RequestMessage)
class RequestMessageAdmin(RecordAdmin):
    """What approvers asked, and what was answered."""

    list_display = ("occurred_at", "actor_name", "kind", "number", "text", "request_page")
    search_fields = ("request_id__exact",)
    search_help_text = "A request's id, whole."


@admin.register(GrantEvent)
class GrantEventAdmin(RecordAdmin):
    """What was tried at targets."""

    list_display = ("occurred_at", "kind", "attempt", "error", "request_page")
    search_fields = ("request_id__exact",)
    search_help_text = "A request's id, whole."


@admin.register(Notice)
class NoticeAdmin(RecordAdmin):
    """What people were told."""

    list_display = ("occurred_at", "kind", "recipient_name", "address", "subject_line")
    search_fields = ("request_id__exact",)
    search_help_text = "A request's id, whole."


@admin.register(SignIn)
class SignInAdmin(RecordAdmin):
    """Who signed in and out, and whose sign-in failed."""

    list_display = ("occurred_at", "person_name", "what", "method", "address")
    list_filter: ClassVar = ["what"]
    search_fields = ("person__username__exact", "address__exact")
    search_help_text = "A login name or an address, whole."


@admin.register(ReportSchedule)
class ReportScheduleAdmin(RecordAdmin, ConfigurationAdmin):
    """Who gets which report when, with its history. Its owner changes it in the portal."""

    # Nothing is changed here, so nobody is asked why.
    form = AnyModelForm  # type: ignore[assignment]
    list_display = ("name", "report", "owner", "frequency", "format", "next_at", "is_paused")
    search_fields = ("name", "owner__username__exact")
    search_help_text = "A part of the name, or its owner's login name, whole."


@admin.register(ReportRun)
class ReportRunAdmin(RecordAdmin):
    """What became of scheduled reports."""

    list_display = ("planned_at", "schedule_name", "event", "rows", "owner_name", "reason")
    list_filter: ClassVar = ["event"]
    search_fields = ("run_id__exact", "owner__username__exact")
    search_help_text = "A run's id or its owner's login name, whole."


@admin.register(ReportExport)
class ReportExportAdmin(RecordAdmin):
    """Which reports were taken away as files."""

    list_display = ("occurred_at", "actor_name", "title", "rows", "format", "checkpoint_size")
    search_fields = ("actor__username__exact",)
    search_help_text = "A login name, whole."


@admin.register(ReviewCampaign)
class ReviewCampaignAdmin(RecordAdmin):
    """Access reviews: opened, then signed off or cancelled."""

    list_display = (
        "__str__",
        "occurred_at",
        "event",
        "scope_name",
        "items",
        "due_at",
        "actor_name",
    )
    list_filter: ClassVar = ["event"]
    search_fields = ("campaign_id__exact", "name__iexact")
    search_help_text = "A campaign's id or name, whole."


@admin.register(ReviewItem)
class ReviewItemAdmin(RecordAdmin):
    """What each review pinned, and who was asked about it."""

    list_display = ("occurred_at", "subject_name", "access_name", "reviewer_name", "request_page")
    search_fields = ("campaign_id__exact", "item_id__exact", "request_id__exact")
    search_help_text = "The id of a campaign, an item or a request, whole."
    readonly_fields = ("request_page",)


@admin.register(ReviewDecision)
class ReviewDecisionAdmin(RecordAdmin):
    """What was decided about each item, by whom and why."""

    list_display = ("occurred_at", "actor_name", "verdict", "reason", "seconds", "request_page")
    list_filter: ClassVar = ["verdict"]
    search_fields = ("campaign_id__exact", "item_id__exact", "request_id__exact")
    search_help_text = "The id of a campaign, an item or a request, whole."
    readonly_fields = ("request_page",)


class StuckFilter(AnyFilter):
    """Work that has failed at least once."""

    title = "trouble"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the one choice."""
        return [("1", "Has failed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return what has failed, where that was chosen."""
        return queryset.filter(first_failed_at__isnull=False) if self.value() else queryset


@admin.register(OutboxItem)
class OutboxAdmin(RecordAdmin):
    """Work that waits or fails: what, since when, why. It may be tried again now, nothing else."""

    list_display = ("__str__", "attempts", "failing_for", "error", "age", "next_try")
    list_filter: ClassVar = [StuckFilter, "lane", "topic"]
    ordering: ClassVar[Any] = ("-attempts", "id")
    actions: Any = ("try_again",)

    @admin.display(description="Last error")
    def error(self, item: OutboxItem) -> str:
        """Return how the last error begins."""
        return Truncator(item.last_error).chars(120) or "–"

    @admin.display(description="Age", ordering="created_at")
    def age(self, item: OutboxItem) -> str:
        """Return the time since it was written."""
        return timesince(item.created_at)

    @admin.display(description="Next try", ordering="not_before")
    def next_try(self, item: OutboxItem) -> Any:
        """Return when it may be tried next, or that a worker has it."""
        if item.leased_until is not None and item.leased_until > clock.now():
            return "being done"
        return item.not_before

    @admin.display(description="Failing for", ordering="first_failed_at")
    def failing_for(self, item: OutboxItem) -> str:
        """Return the time since its first failure."""
        return timesince(item.first_failed_at) if item.first_failed_at else "–"

    @admin.action(description="Try again now")
    def try_again(self, request: HttpRequest, chosen: QuerySet[OutboxItem]) -> None:
        """Let the chosen work be tried at once, but for what a worker is doing."""
        keys = list(chosen.values_list("pk", flat=True))
        count = operations.try_again(items=keys, actor=request.user, now=clock.now())  # type: ignore[arg-type]
        busy = len(keys) - count
        self.message_user(
            request,
            f"{count} will be tried now." + (f" {busy} are being done already." if busy else ""),
            messages.SUCCESS if count else messages.WARNING,
        )
