"""What a broken page says: that it broke, or that the database is away for a moment."""

import sys

from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods

#: When to come back while the database is away.
RETRY_AFTER_SECONDS = 5


@require_http_methods(["GET", "HEAD", "POST"])
def not_here(request: HttpRequest) -> HttpResponse:
    """Answer 404 for what a library brings and this portal does not offer."""
    raise Http404


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 while the database is away, so that callers come back, and else 500.

    Neither page needs the database. What was sent has been kept whole or not at all.
    """
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        response = HttpResponse(render_to_string("503.html"), status=503)
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response
    return HttpResponse(render_to_string("500.html"), status=500)
