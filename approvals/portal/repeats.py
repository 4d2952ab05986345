"""Posts that may be sent twice: by a program with `Idempotency-Key`, by a person who clicks twice.

A post with the header, or with the hidden field that the forms carry, is one transaction with its
key. Sent again it changes nothing and leads where the first one led. Only answers that lead
somewhere (a redirect) are kept: any other one is a refusal, or a part of a page, whose own guards
tell a second one. What a refusal leaves behind stays: that the clock had moved the request on, and
that somebody tried.

Source: draft-ietf-httpapi-idempotency-key-header-07.
"""

from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from typing import Concatenate, ParamSpec

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse, HttpResponseRedirect

from approvals.domain.refusals import Refusal
from approvals.portal.views import PortalRequest
from approvals.selectors import clock
from approvals.services import repeats

FIELD = "form_key"
#: What of a form is not part of what it says.
_BESIDE = (FIELD, "csrfmiddlewaretoken")

P = ParamSpec("P")
View = Callable[Concatenate[PortalRequest, P], HttpResponse]


def once(view: View[P]) -> View[P]:
    """Make a page's post safe to repeat: under one key it happens once. Goes below `views.page`.

    The view must not call a target or send anything: it runs in one transaction with the key. A
    header's key that comes with another post is refused with 422 (`Changed`). A form's key is only
    of that very content, since a form that is changed and sent again is meant.
    """

    @wraps(view)
    def wrapper(request: PortalRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        header = request.headers.get("Idempotency-Key", "").strip()
        field = request.POST.get(FIELD, "")
        if not header and not field:
            return view(request, *args, **kwargs)
        said = _fingerprint(request)
        key = header.removeprefix('"').removesuffix('"') if header else f"{field[:100]}.{said}"
        with transaction.atomic():
            known = repeats.claim(person=request.user, key=key, fingerprint=said, now=clock.now())
            if known is not None:
                if not header:
                    messages.info(request, "This was sent already. Here is what became of it.")
                return HttpResponseRedirect(known)
            response: HttpResponse | Refusal
            try:
                response = view(request, *args, **kwargs)
            except Refusal as refusal:
                response = refusal
            if isinstance(response, HttpResponseRedirect):
                repeats.settle(person=request.user, key=key, location=response.url)
            else:
                repeats.forget(person=request.user, key=key)
        if isinstance(response, Refusal):
            raise response
        return response

    return wrapper


def _fingerprint(request: PortalRequest) -> str:
    """Return the SHA-256, in hex, of what a post says: its path and its fields, in their order."""
    parts = [request.get_full_path()]
    for name, values in sorted(request.POST.lists()):
        if name not in _BESIDE:
            parts += [f"{len(name)} {name}", *(f"{len(value)} {value}" for value in values)]
    return sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
