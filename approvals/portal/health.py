"""What load balancers and watchers ask: is the process alive, can it do its work."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from approvals.portal import errors
from approvals.selectors import processes
from audit.selectors import clock, staleness


def alive(request: HttpRequest) -> HttpResponse:
    """Answer 200 while the process runs; asks nothing else."""
    return HttpResponse("ok\n", content_type="text/plain")


def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 when the database answers, else 503, so that traffic goes elsewhere.

    A ledger that is not being sealed is told in `ledger` and `status`, and so is a silent beat or
    worker in `processes`. Neither stops traffic: the portal records everything meanwhile.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse(
            {"status": "down", "database": "unreachable"},
            status=503,
            headers={"Retry-After": str(errors.RETRY_AFTER_SECONDS)},
        )
    ledger, found = _ledger(), _processes()
    good = {ledger, *found.values()} == {"ok"}
    return JsonResponse(
        {
            "status": "ok" if good else "degraded",
            "database": "ok",
            "ledger": ledger,
            "processes": found,
        }
    )


def _processes() -> dict[str, str]:
    """Return "ok" or what is wrong, for beat and for each queue's worker."""
    try:
        return processes.states(now=clock.now())
    except DatabaseError as error:
        return {"all": f"unknown: {type(error).__name__}"}


def _ledger() -> str:
    """Return "ok", or why the ledger is not."""
    try:
        found = staleness.stale(clock.now())
    except DatabaseError as error:
        return f"unknown: {type(error).__name__}"
    return f"stale: {found.text}" if found else "ok"
