"""Static files go over the wire compressed, without a build step."""

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.middleware.gzip import GZipMiddleware

_TEXT = ("text/", "image/svg+xml", "application/javascript", "application/json")


class CompressedStaticMiddleware(GZipMiddleware):
    """Compress what WhiteNoise serves; stands before it in MIDDLEWARE.

    Pages are left alone: a page that repeats what was sent to it beside a secret must not be
    compressed. Source: BREACH (CVE-2013-3587).
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Return the whole text file compressed where the browser takes it; else as it was."""
        if not request.path.startswith(settings.STATIC_URL) or response.status_code != 200:
            return response
        if not response.headers.get("Content-Type", "").startswith(_TEXT):
            return response
        tag = response.headers.get("ETag")
        response = super().process_response(request, response)
        if tag is not None:  # WhiteNoise knows its own tag only, and compares it as text
            response.headers["ETag"] = tag
        return response
