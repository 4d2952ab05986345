"""Sign-ins as records: one for each that succeeded or failed, and for each sign-out."""

import ipaddress
from datetime import datetime

from approvals.models import SignIn, User
from approvals.models.signin import AGENT_CHARACTERS_MOST

What = SignIn.What


def record(
    *,
    what: What,
    person: User | None,
    method: str,
    address: str,
    agent: str,
    now: datetime,
) -> SignIn:
    """Record a sign-in, a failure or a sign-out; `person` is None where the login is nobody's.

    What isn't an IP address is left out; of the browser's own description the first 300 characters
    are kept, without control characters.
    """
    made = SignIn(
        what=what,
        person=person,
        person_name=person.get_full_name() if person else "",
        method=method[:40],
        address=_address(address),
        agent="".join(filter(str.isprintable, agent))[:AGENT_CHARACTERS_MOST],
        occurred_at=now,
    )
    made.save()
    return made


def _address(text: str) -> str:
    try:
        return ipaddress.ip_address(text.strip()).compressed
    except ValueError:
        return ""
