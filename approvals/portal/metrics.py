"""/metrics, for a Prometheus that knows the token: how late, how much, how long, since when."""

from collections.abc import Iterator
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import add_never_cache_headers
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe

from approvals.portal import exposition
from approvals.portal.exposition import Family, gauge, histogram
from approvals.selectors import clock, lanes, metrics, processes
from audit.selectors import state


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Answer 200 with the figures, 404 where no token is set, 401 to any other token."""
    if not settings.METRICS_TOKEN:
        raise Http404
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    good = constant_time_compare(token.strip(), settings.METRICS_TOKEN)
    if not good or scheme.lower() != "bearer":
        refused = HttpResponse("The token is wrong.\n", status=401, content_type="text/plain")
        refused["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return refused
    try:
        text = exposition.write(_families(clock.now()))
    except DatabaseError as error:
        text = f"The database does not answer: {type(error).__name__}.\n"
        return HttpResponse(text, status=503, content_type="text/plain")
    answer = HttpResponse(text, content_type=exposition.CONTENT_TYPE)
    add_never_cache_headers(answer)
    return answer


def _families(now: datetime) -> Iterator[Family]:
    lag, decisions = metrics.last_hour(now=now)
    yield histogram(
        "jitportal_removal_lag_seconds",
        "From the moment that a removal was due to the target's confirmation, of those confirmed "
        "in the last hour. A window, not a counter: take no rate of it.",
        bounds=lag.bounds, at_most=lag.at_most, count=lag.count, sum=lag.sum,
    )  # fmt: skip
    login, session = metrics.lags_apart(now=now)
    for name, until, found in (
        ("login", "the target refused new use", login),
        ("session", "the sessions that were open were gone", session),
    ):
        yield histogram(
            f"jitportal_{name}_lag_seconds",
            f"From the moment that a removal was due to when {until}, of those confirmed in the "
            "last hour whose target tells it apart. A window, not a counter: take no rate of it.",
            bounds=found.bounds, at_most=found.at_most, count=found.count, sum=found.sum,
        )  # fmt: skip
    yield histogram(
        "jitportal_decision_seconds",
        "From the request to the decision, of those that people decided in the last hour. A "
        "window, not a counter: take no rate of it.",
        bounds=decisions.bounds, at_most=decisions.at_most, count=decisions.count,
        sum=decisions.sum,
    )  # fmt: skip
    targets = metrics.by_target(now=now, stuck_after=settings.STUCK_AFTER)
    yield gauge(
        "jitportal_requests",
        "Open requests by target and state.",
        [
            ({"target": one.target, "state": name}, getattr(one, name))
            for one in targets
            for name in ("pending", "approved", "active", "revoking")
        ],
    )
    yield gauge(
        "jitportal_removals_stuck",
        "Removals that have been due for longer than STUCK_AFTER_SECONDS and are not confirmed, "
        "those of what failed and cancelled grants may have left included.",
        [({"target": one.target}, one.stuck) for one in targets],
    )
    yield gauge(
        "jitportal_access_overdue",
        "Accesses that are active though their time is up, so that no sweep has begun to end them.",
        [({}, metrics.overdue(now=now))],
    )
    yield from _outbox(now)
    yield from _processes(now)
    yield from _ledger(now)


def _outbox(now: datetime) -> Iterator[Family]:
    found = lanes.states(now=now)
    most = f"counted to {lanes.COUNTED_MOST}."
    yield gauge(
        "jitportal_outbox_due", f"Work that is due in each lane, {most}",
        [({"lane": lane.name}, lane.due) for lane in found],
    )  # fmt: skip
    yield gauge(
        "jitportal_outbox_failing", f"Work that has failed at least once in each lane, {most}",
        [({"lane": lane.name}, lane.failing) for lane in found],
    )  # fmt: skip
    yield gauge(
        "jitportal_outbox_oldest_seconds",
        "How long the first work of each lane has waited that a worker could take; 0 without any.",
        [({"lane": lane.name}, _since(lane.oldest_at, now)) for lane in found],
    )


def _processes(now: datetime) -> Iterator[Family]:
    yield gauge(
        "jitportal_heartbeat_age_seconds",
        "Since the last sign of life of beat, of each queue's workers, and of the messages of each "
        "queue (kind queue). Absent until there was one.",
        [
            ({"kind": kind, "name": name}, _since(life.beat_at, now))
            for (kind, name), life in sorted(processes.lives().items())
        ],
    )
    yield gauge(
        "jitportal_incidents_open",
        "Incidents of the watch that are open.",
        [({}, len(processes.open_incidents()))],
    )


def _ledger(now: datetime) -> Iterator[Family]:
    found = state.current()
    if found is None:
        return
    yield gauge(
        "jitportal_ledger_unsealed_seconds",
        "How long the oldest entry has waited to be sealed; 0 without any.",
        [({}, _since(found.oldest_unsealed_at, now))],
    )
    yield gauge(
        "jitportal_ledger_checkpoint_age_seconds",
        "How old the newest checkpoint is.",
        [({}, _since(found.signed_at, now))],
    )
    yield gauge("jitportal_ledger_leaves", "Leaves of the log.", [({}, found.size)])


def _since(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0
