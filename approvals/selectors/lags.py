"""How late a removal was, apart for new use of the access and for sessions that were open.

Login lag is from the due moment to when the target refused new use: nothing where it held the end
itself, else known where the target told when that was. Session lag is from the due moment to when
the sessions that were open were gone: known where the target closes them before it confirms. The
whole, from due to confirmed, is the revision's own (`removal_lag`) and known of every removal.

They are SQL about a request's newest revision `r`, or a confirmed one, so that page, report and
metrics can't tell them differently: intervals, never negative, NULL where it is not known.
"""

from typing import NamedTuple

from django.db.models import DurationField
from django.db.models.expressions import RawSQL

_TOLD = "jsonb_typeof(r.detail #> '{receipt,refused_after_ms}') = 'number'"
# A removal has one such event, written with its confirmation; what is told counts from the call.
LOGIN_LAG = f"""CASE
    WHEN r.event <> 'confirmed' THEN NULL
    WHEN r.detail #>> '{{receipt,refused_at_end}}' = 'true' THEN interval '0'
    WHEN {_TOLD} THEN greatest(interval '0', (
        SELECT e.started_at FROM approvals_grantevent e
        WHERE e.request_id = r.request_id AND e.kind = 'removed' ORDER BY e.id DESC LIMIT 1)
        + (r.detail #>> '{{receipt,refused_after_ms}}')::float8 * interval '1 ms'
        - r.removal_due_at) END"""  # noqa: S608 - constants
SESSION_LAG = f"""CASE
    WHEN r.event = 'confirmed' AND r.detail #> '{{receipt,sessions_live_on}}' IS NULL
        AND ({_TOLD} OR (r.detail ->> 'sessions_closed')::int > 0)
    THEN greatest(interval '0', r.removal_confirmed_at - r.removal_due_at) END"""


class Columns(NamedTuple):
    """Both lags of a revision."""

    login: RawSQL
    session: RawSQL


def inline() -> Columns:
    """Return both as columns of a query of `AccessRequest`: that spares a query of its own."""
    return Columns(_column(LOGIN_LAG), _column(SESSION_LAG))


def _column(lag: str) -> RawSQL:
    own = f"SELECT {lag} FROM approvals_accessrequest r WHERE r.id = approvals_accessrequest.id"  # noqa: S608
    return RawSQL(own, (), DurationField())  # noqa: S611 - a constant
