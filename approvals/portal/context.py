"""What every page's frame shows."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from approvals.portal import look
from approvals.selectors import frame


def shell(request: HttpRequest) -> dict[str, Any]:
    """Return the frame's data: how much waits in the inbox, the look, whether this is a demo.

    The count is read when the frame shows it, so that a fragment without a frame costs no query.
    """
    theme = look.chosen(request, "theme")
    context: dict[str, Any] = {
        "demo": settings.DEMO,
        "theme": theme,
        "next_theme": look.next_theme(theme),
        "single_keys": look.chosen(request, "keys"),
        "live": look.chosen(request, "live"),
    }
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        counts = SimpleLazyObject(lambda: frame.counts(person=user))
        context["inbox_count"] = SimpleLazyObject(lambda: counts.inbox)
        context["notice_count"] = SimpleLazyObject(lambda: counts.notices)
        context["review_count"] = SimpleLazyObject(lambda: counts.reviews)
    return context
