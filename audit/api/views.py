"""The log as outsiders read it: checkpoint, tiles, entry bundles, policy, and the verifier.

Anybody may read all of this, without signing in, and is told the same: that is what makes the log a
witness against its owner. So nothing personal may be in an entry: it names objects, people by
random identities, and fields by salted commitments. Values and salts are never served here.

Source: C2SP tlog-tiles, tlog-checkpoint, tlog-policy.
"""

from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from pathlib import Path

import structlog
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.views.decorators.http import require_safe

from audit.domain import tiles, verifier
from audit.domain.lines import Malformed
from audit.models import Log
from audit.selectors import holders, policies
from audit.selectors import log as reads

logger = structlog.get_logger(__name__)

TEXT, BYTES = "text/plain; charset=utf-8", "application/octet-stream"
#: Tiles never change. What does change is always asked for again, cheaply by its ETag.
FOR_EVER, ASK_AGAIN = "public, max-age=31536000, immutable", "public, no-cache"


def for_outsiders(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponseBase]:
    """Answer GET and HEAD alone, the same to everybody: no session, no cookie, no person."""

    @wraps(view)
    def answer(request: HttpRequest, **named: str) -> HttpResponseBase:
        # Without a session the middleware neither sets a cookie nor lets the answer vary by one.
        del request.session
        request.user = AnonymousUser()
        response = view(request, **named)
        response["Access-Control-Allow-Origin"] = "*"
        etag = response.headers.get("ETag")
        return get_conditional_response(request, etag=etag, response=response) or response

    return require_safe(answer)


def _answer(body: bytes, *, kind: str, cache: str) -> HttpResponse:
    response = HttpResponse(body, content_type=kind)
    response["ETag"] = quote_etag(sha256(body).hexdigest()[:32])
    response["Cache-Control"] = cache
    return response


def _nothing(words: str, *, status: int = 404) -> HttpResponse:
    response = HttpResponse(f"{words}\n", content_type=TEXT, status=status)
    response["Cache-Control"] = "no-store"  # it may be there in a second
    return response


def _log(identity: str) -> Log | None:
    return reads.by_key_id(identity) if identity else reads.current()


@for_outsiders
def checkpoint(request: HttpRequest, log: str = "") -> HttpResponse:
    """Return the newest signed head of a log; of the current one unless a key id names another."""
    made = _log(log)
    newest = reads.newest_checkpoint(made) if made else None
    if newest is None:
        return _nothing("There is no such log, or nothing is sealed yet.")
    return _answer(holders.cosigned_note(newest), kind=TEXT, cache=ASK_AGAIN)


@for_outsiders
def tile(request: HttpRequest, path: str, log: str = "") -> HttpResponse:
    """Return a tile or an entry bundle, of any width that the log has, by its one exact path."""
    made = _log(log)
    try:
        name = tiles.parse(f"tile/{path}")
        body = reads.tile(made, name) if made else None
    except (Malformed, reads.NoSuchTile):
        body = None
    if body is None:
        return _nothing("The log has no such tile, or not yet.")
    return _answer(body, kind=BYTES, cache=FOR_EVER)


@for_outsiders
def policy(request: HttpRequest) -> HttpResponse:
    """Return the portal's keys, old and new, as a trust policy. It proves nothing by itself."""
    try:
        published = policies.published()
    except holders.PolicyUnreadable as error:
        logger.error("ledger.policy", error=str(error))
        return _nothing("The portal's policy can't be read at present.", status=503)
    if published is None:
        return _nothing("There is no log yet.")
    return _answer(published.encode(), kind=TEXT, cache=ASK_AGAIN)


@for_outsiders
def verifier_file(request: HttpRequest) -> HttpResponse:
    """Return the offline verifier, as the one file that it is."""
    body = Path(verifier.__file__).read_bytes()
    response = _answer(body, kind="text/x-python; charset=utf-8", cache=ASK_AGAIN)
    response["Content-Disposition"] = 'attachment; filename="verifier.py"'
    return response
