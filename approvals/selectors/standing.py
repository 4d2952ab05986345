"""How a person stands to an entitlement now: all that a decision depends on, in one query.

Submission, decision and activation ask the same question, so they ask it here.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from django.db import connection

from approvals.domain import policy as policies
from approvals.domain.refusals import NotFound
from approvals.selectors import catalogue


class PolicyRecord(NamedTuple):
    """The newest history row of a policy, which is what a request pins."""

    history_id: int
    name: str
    version: int


@dataclass(frozen=True)
class Standing:
    """One person and one entitlement as configured now."""

    entitlement_name: str
    risk: str
    retired: bool
    owner: int
    subject_name: str
    subject_active: bool
    groups: frozenset[str]
    policy_record: PolicyRecord | None
    target: dict[str, Any]
    """What a connector needs, pinned at approval so that access is removed just where it was made,
    whatever is edited meanwhile. The secret is a reference."""

    @property
    def policy(self) -> policies.Policy | None:
        """Return the policy as it stands; read only when asked, since it may be unreadable."""
        return catalogue.parsed(self.policy_record.history_id) if self.policy_record else None

    def refusal(self, *, duration: timedelta) -> policies.Refused | None:
        """Return why access of that length would not be allowed today, or None."""
        if self.retired:
            return policies.Refused("no_policy", f"{self.entitlement_name} is retired.")
        if not self.subject_active:
            return policies.Refused("not_eligible", f"{self.subject_name} is not active any more.")
        return policies.recheck(
            self.policy, risk=self.risk, subject_groups=self.groups, duration=duration
        )


_STANDING = """
SELECT r.name || ' · ' || e.name, e.risk, e.is_retired OR r.is_retired, r.owner_id,
       r.connector, r.settings, e.settings, r.secret,
       u.username, u.email, coalesce(nullif(u.name, ''), u.username), u.is_active,
       ARRAY(SELECT g.name FROM approvals_membership m
             JOIN approvals_group g ON g.id = m.group_id WHERE m.person_id = u.id),
       h.history_id, h.name, h.version
FROM approvals_entitlement e
JOIN approvals_resource r ON r.id = e.resource_id
CROSS JOIN approvals_user u
LEFT JOIN LATERAL (
    SELECT history_id, name, version FROM approvals_historicalpolicy
    WHERE id = e.policy_id ORDER BY history_id DESC LIMIT 1) h ON true
WHERE e.id = %s AND u.id = %s
"""


def of(*, subject: int, entitlement: int) -> Standing:
    """Return how `subject` stands to `entitlement` (one query). Raises: NotFound."""
    with connection.cursor() as cursor:
        cursor.execute(_STANDING, [entitlement, subject])
        row = cursor.fetchone()
    if row is None:
        raise NotFound("There is no such entitlement or person.")
    name, risk, retired, owner, connector, resource_settings, settings, secret = row[:8]
    login, email, subject_name, active, groups, history_id, policy_name, version = row[8:]
    record = PolicyRecord(history_id, policy_name, version) if history_id is not None else None
    return Standing(
        entitlement_name=name,
        risk=risk,
        retired=retired,
        owner=owner,
        subject_name=subject_name,
        subject_active=active,
        groups=frozenset(groups),
        policy_record=record,
        target={
            "connector": connector,
            "resource_settings": json.loads(resource_settings),
            "entitlement_settings": json.loads(settings),
            "secret": secret,
            "login": login,
            "email": email,
        },
    )
