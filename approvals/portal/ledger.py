"""The log for compliance and operators: its state, its newest entries, their files, how to verify.

What anybody may read of it without signing in is `audit.api`.
"""

import uuid
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from approvals.domain.refusals import Invalid, NotFound
from approvals.portal import proofs, reports, views
from approvals.portal.views import PortalRequest
from approvals.selectors import clock, sentences
from audit.selectors import holders, state
from audit.selectors import log as reads
from audit.selectors.state import Log

PAGE = 50
_LARGEST = 2**53
#: Objects whose id begins with that of the request that they are about.
_OF_REQUESTS = {"request", "decision", "grant_event"}


def overview(*, now: datetime) -> dict[str, Any]:
    """Return what the cards above the audit search show."""
    held = holders.alive(now)
    ledger = state.current()
    verified = state.last_verification()
    return {
        "ledger": ledger,
        "ledger_p50": sentences.short(ledger.delay_p50) if ledger else "",
        "ledger_p99": sentences.short(ledger.delay_p99) if ledger else "",
        "holders": held,
        "held_outside": [it for it in held if it.state == holders.State.ALIVE],
        "verified": verified,
        "first_problem": next(iter(verified.sentences), "") if verified else "",
    }


@views.page("GET")
def page(request: PortalRequest) -> HttpResponse:
    """List the log's entries as they are sealed, the newest first; `?leaf=` begins at one."""
    reports.allowed(request)
    logs = state.logs()
    log = _chosen(logs, request.GET.get("log", ""))
    context: dict[str, Any] = {"logs": logs, "log": log, "now": clock.now()}
    status = 200
    if log is not None:
        try:
            leaf = _number(request.GET.get("leaf", ""))
            before = _number(request.GET.get("before", ""))
            start = leaf + 1 if leaf is not None else before
            found = state.leaves(log_id=log.pk, before=start or _LARGEST, limit=PAGE + 1)
            context |= {
                "lines": [(line, _link(line.said)) for line in found[:PAGE]],
                "older": found[PAGE - 1].leaf if len(found) > PAGE else None,
                "is_newest": start is None,
                "leaf": leaf,
            }
        except Invalid as refusal:
            context["refusal"] = refusal
            status = refusal.status
    return render(request, "audit/log.html", context, status=status)


@views.page("GET")
def leaf_file(request: PortalRequest, log_id: int, leaf: int, part: str) -> HttpResponse:
    """Send one entry's proof, its exact bytes, or its values with their salts."""
    reports.allowed(request)
    held = next((log for log in state.logs() if log.pk == log_id), None)
    if held is None or part not in proofs.PARTS or leaf >= _LARGEST:
        raise NotFound("The log has no such entry.")
    return proofs.send(proofs.proven(held, leaf), part, stem=f"leaf-{leaf}")


@views.page("GET")
def how(request: PortalRequest) -> HttpResponse:
    """Tell an auditor, step by step, how to verify the log without trusting the portal."""
    reports.allowed(request)
    return render(request, "audit/verify.html", {"log": reads.current()})


def _chosen(logs: list[Log], text: str) -> Log | None:
    """Return the log of that number, without one the newest. Raises: NotFound."""
    if not text:
        return logs[0] if logs else None
    for log in logs:
        if str(log.pk) == text:
            return log
    raise NotFound("There is no such log.")


def _number(text: str) -> int | None:
    """Return the leaf that is meant, None without one. Raises: Invalid."""
    if not text.strip():
        return None
    plain = text.strip().replace(",", "")
    if not (plain.isascii() and plain.isdigit() and len(plain) < 16):
        raise Invalid("A leaf is a number.", field="leaf")
    return int(plain)


def _link(said: dict[str, Any]) -> str:
    """Return the page of the request that an entry is about; nothing where it is about none."""
    if said.get("model") not in _OF_REQUESTS:
        return ""
    try:
        return reverse("request", args=[uuid.UUID(str(said.get("id", "")).split(".")[0])])
    except ValueError:
        return ""
