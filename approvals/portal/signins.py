"""Django's signals around sign-in, turned into records. One that can't be recorded doesn't happen.

A session that only runs out is no sign-out. Attempts that were refused for being too many were not
looked at, and leave no record.
"""

import re
from collections.abc import Mapping
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY
from django.contrib.auth import signals
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest

from approvals.directory.models import User
from approvals.selectors import clock, people
from approvals.services import signins

_METHOD = re.compile(r"[a-z][a-z0-9_]{0,39}")


def connect() -> None:
    """From now on sign-ins and sign-outs are recorded."""
    signals.user_logged_in.connect(_signed_in, dispatch_uid="approvals.signed_in")
    signals.user_login_failed.connect(_failed, dispatch_uid="approvals.sign_in_failed")
    signals.user_logged_out.connect(_signed_out, dispatch_uid="approvals.signed_out")


def _signed_in(request: HttpRequest | None, user: User, **_: Any) -> None:
    _record(signins.What.SIGNED_IN, request, user, method=_method(request))


def _signed_out(request: HttpRequest | None, user: User | None, **_: Any) -> None:
    if user is not None:
        _record(signins.What.SIGNED_OUT, request, user, method="")


def _failed(credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    login = credentials.get("username") or credentials.get("email") or ""
    method = "password" if "password" in credentials else ""
    _record(signins.What.FAILED, request, people.of_login(str(login)), method=method)


def _record(
    what: signins.What, request: HttpRequest | None, person: User | None, *, method: str
) -> None:
    agent = request.META.get("HTTP_USER_AGENT", "") if request is not None else ""
    signins.record(
        what=what,
        person=person,
        method=method,
        address=_address(request),
        agent=agent,
        now=clock.now(),
    )


def _address(request: HttpRequest | None) -> str:
    """Return where the request came from, by way of as many proxies as are trusted."""
    if request is None:
        return ""
    try:
        return str(get_adapter().get_client_ip(request))
    except (PermissionDenied, ImproperlyConfigured):
        return ""


def _method(request: HttpRequest | None) -> str:
    """Return how the person has just proved who they are, such as password or totp."""
    session = getattr(request, "session", None)
    steps = session.get(AUTHENTICATION_METHODS_SESSION_KEY) if session is not None else None
    if not steps:
        return ""
    last = steps[-1]
    found = str(last.get("type") or last.get("method") or "")
    return found if _METHOD.fullmatch(found) else ""
