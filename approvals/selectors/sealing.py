"""Where a request's revisions stand in the log."""

from approvals.domain.refusals import NotFound
from approvals.models import AccessRequest
from audit.selectors import state
from audit.selectors.state import Place


def place(record: AccessRequest) -> Place | None:
    """Return where a revision's entry stands; None if the log doesn't know it (one query)."""
    return state.place(
        model=AccessRequest.ledger_name, object_id=str(record.request_id), record_id=record.pk
    )


def revision(newest: AccessRequest, *, number: int) -> AccessRequest:
    """Return a revision of the same request (one query at most). Raises: NotFound."""
    if number == newest.revision:
        return newest
    found = AccessRequest.objects.filter(request_id=newest.request_id, revision=number).first()
    if found is None:
        raise NotFound("There is no such revision.")
    return found
