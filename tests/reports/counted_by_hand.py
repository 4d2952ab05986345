"""What reports and dashboard must say, as SQL that was written by hand, from what records mean.

Parameters: `start`, `end`, `moment`, `resource` (a name) and `person` (a number), null for all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Everybody's access from beginning to end, of the revisions themselves.
_LIFE = """
WITH life AS (
    SELECT request_id, min(activated_at) AS began, max(removal_confirmed_at) AS gone,
           max(coalesce(removal_due_at, '-infinity')) AS ended, max(ends_at) AS ends,
           bool_or(event = 'confirmed' AND detail -> 'receipt' ->> 'kept' = 'true') AS kept,
           min(resource_name) AS resource, min(subject_id) AS subject,
           min(requester_id) AS requester, min(risk) AS risk, min(entitlement_id) AS entitlement
    FROM approvals_accessrequest GROUP BY 1
), mine AS (
    SELECT *, CASE WHEN ended > '-infinity' THEN ended ELSE ends END AS due FROM life
    WHERE began IS NOT NULL AND (%(resource)s::text IS NULL OR resource = %(resource)s)
      AND (%(person)s::bigint IS NULL OR %(person)s IN (subject, requester))
), due AS (
    SELECT *, extract(epoch FROM coalesce(gone, %(moment)s) - due) AS late FROM mine
    WHERE due >= %(start)s AND due < %(end)s AND (ended > '-infinity' OR ends <= %(moment)s)
), judged AS (SELECT * FROM due WHERE NOT kept AND (gone IS NOT NULL OR late > 1))
"""
#: What may be left of access that never became active, and did not go at the first try.
_LEFT_OVER = """SELECT count(*) FROM (
        SELECT DISTINCT ON (request_id) * FROM approvals_accessrequest
        ORDER BY request_id, revision DESC) newest
    CROSS JOIN LATERAL (
        SELECT max(occurred_at) FILTER (WHERE kind = 'gone') AS gone_at,
               count(*) FILTER (WHERE kind = 'remove_failed'
                                AND occurred_at <= %(moment)s) AS failures,
               count(*) FILTER (WHERE kind = 'remove_failed' AND occurred_at >= %(start)s
                                AND occurred_at < %(end)s) AS in_period
        FROM approvals_grantevent e WHERE e.request_id = newest.request_id) tried
    WHERE activated_at IS NULL AND state IN ('approved', 'cancelled', 'failed')
      AND newest.occurred_at < %(end)s AND failures > 0
      AND (in_period > 0 OR coalesce(gone_at >= %(start)s, true))
      AND (%(resource)s::text IS NULL OR resource_name = %(resource)s)
      AND (%(person)s::bigint IS NULL OR %(person)s IN (subject_id, requester_id))"""
_ASKED = """
WITH asked AS (SELECT * FROM approvals_accessrequest WHERE revision = 1
    AND (%(resource)s::text IS NULL OR resource_name = %(resource)s))
"""
_DECIDED = f"""{_ASKED}, decided AS (
    SELECT d.*, a.subject_id, a.requester_id FROM approvals_decision d
    JOIN asked a USING (request_id)
    WHERE d.occurred_at >= %(start)s AND d.occurred_at < %(end)s)
"""
_REVISIONS = """FROM approvals_accessrequest
    WHERE occurred_at >= %(start)s AND occurred_at < %(end)s
      AND (%(resource)s::text IS NULL OR resource_name = %(resource)s)"""
_FOUND = """
WITH found AS (
    SELECT f.*, t.name AS resource FROM approvals_finding f
    JOIN approvals_resource t ON t.id = f.resource_id
    WHERE f.kind IN ('leftover', 'standing', 'unmatched') AND f.confirmed_at IS NOT NULL
      AND (%(resource)s::text IS NULL OR t.name = %(resource)s)
      AND (%(person)s::bigint IS NULL OR f.person_id = %(person)s))
"""
_OPEN_FINDING = "first_seen_at < %(end)s AND coalesce(resolved_at > %(moment)s, true)"
_LOOKED = f"""{_FOUND} SELECT {{}} FROM found WHERE first_seen_at < %(end)s
    AND (first_seen_at >= %(start)s OR {_OPEN_FINDING})"""
_ITEMS = """
WITH items AS (
    SELECT i.subject_id, i.reviewer_id, d.actor_id, d.verdict,
           coalesce(d.occurred_at, i.occurred_at) AS at
    FROM approvals_reviewitem i LEFT JOIN approvals_reviewdecision d USING (item_id)
    WHERE %(resource)s::text IS NULL OR i.resource_name = %(resource)s)
SELECT {} FROM items WHERE at >= %(start)s AND at < %(end)s AND (%(person)s::bigint IS NULL
    OR %(person)s IN (subject_id, reviewer_id, actor_id))
"""
#: Each thing's row of its history at the moment: none that came later, and it was not removed.
_STOOD = """NOT EXISTS (SELECT FROM approvals_historical{0} later WHERE later.id = {1}.id
    AND later.history_id > {1}.history_id AND later.history_date <= %(moment)s)
    AND {1}.history_date <= %(moment)s AND {1}.history_type <> '-'"""
_ROLES = f"""SELECT count(*) FROM approvals_historicalmembership m
    JOIN approvals_historicalgroup g ON g.id = m.group_id AND {_STOOD.format("group", "g")}
    WHERE {_STOOD.format("membership", "m")} AND g.role <> '' AND %(resource)s::text IS NULL
      AND (%(person)s::bigint IS NULL OR m.person_id = %(person)s)"""
_STANDING = f"""{_FOUND} SELECT count(*) FROM found WHERE confirmed_at <= %(moment)s
    AND coalesce(resolved_at > %(moment)s, true)"""
_THERE = "began <= %(moment)s AND coalesce(gone > %(moment)s, true)"
_PEOPLE = """
WITH people AS (
    SELECT id, history_type, history_date, is_active, manager_id, title,
           lag(is_active) OVER past AS was_active, lag(manager_id) OVER past AS was_under,
           lag(title) OVER past AS was_called
    FROM approvals_historicaluser WINDOW past AS (PARTITION BY id ORDER BY history_id)
), moved AS (
    SELECT id AS person, history_date AS at FROM people WHERE was_active AND NOT is_active
    UNION ALL
    SELECT id, history_date FROM people
    WHERE was_under IS NOT NULL AND manager_id IS DISTINCT FROM was_under
    UNION ALL
    SELECT id, history_date FROM people WHERE was_called <> '' AND title <> was_called
    UNION ALL
    SELECT person_id, history_date FROM approvals_historicalmembership
    WHERE history_type = '-' AND granted_by IS NULL
)"""
_MOVES = """at >= %(start)s AND at < %(end)s AND (%(person)s::bigint IS NULL
    OR person = %(person)s)"""


def _changed(kind: str, *, of_resource: str = "false", of_person: str = "false") -> str:
    return f"""(SELECT count(*) FROM approvals_historical{kind} h
        WHERE h.history_date >= %(start)s AND h.history_date < %(end)s
          AND (%(resource)s::text IS NULL OR {of_resource})
          AND (%(person)s::bigint IS NULL OR h.history_user_id = %(person)s OR {of_person}))"""


_OF_RESOURCE = "(SELECT id FROM approvals_resource WHERE name = %(resource)s)"
_CHANGES = " + ".join(
    (
        _changed("policy", of_resource=f"""h.id IN (SELECT policy_id FROM approvals_entitlement
            WHERE resource_id = {_OF_RESOURCE})"""),
        _changed("resource", of_resource=f"h.id = {_OF_RESOURCE}",
                 of_person="h.owner_id = %(person)s"),
        _changed("entitlement", of_resource=f"h.resource_id = {_OF_RESOURCE}"),
        _changed("group"),
        _changed("membership", of_person="h.person_id = %(person)s"),
        _changed("user", of_person="h.id = %(person)s"),
        _changed("reportschedule", of_person="h.owner_id = %(person)s"),
        _changed("publickey", of_person="h.person_id = %(person)s"),
    )
)  # fmt: skip
_IDLE = f"""
WITH life AS (
    SELECT request_id, min(subject_id) AS person, min(entitlement_id) AS entitlement,
           min(submitted_at) AS asked, min(activated_at) AS began,
           max(removal_confirmed_at) AS gone
    FROM approvals_accessrequest GROUP BY 1
), able AS (
    SELECT DISTINCT m.person_id AS person, n.id AS entitlement
    FROM approvals_historicalentitlement n
    JOIN approvals_historicalresource t ON t.id = n.resource_id AND {_STOOD.format("resource", "t")}
    JOIN approvals_historicalpolicy p ON p.id = n.policy_id AND {_STOOD.format("policy", "p")}
    CROSS JOIN jsonb_array_elements(p.document -> 'rules') rule
    CROSS JOIN jsonb_array_elements_text(rule -> 'groups') named
    JOIN approvals_historicalgroup g ON g.name = named AND {_STOOD.format("group", "g")}
    JOIN approvals_historicalmembership m ON m.group_id = g.id AND {_STOOD.format("membership", "m")}
    JOIN approvals_historicaluser u ON u.id = m.person_id AND {_STOOD.format("user", "u")}
    WHERE {_STOOD.format("entitlement", "n")} AND NOT n.is_retired AND NOT t.is_retired
      AND u.is_active AND (%(resource)s::text IS NULL OR t.name = %(resource)s)
      AND (%(person)s::bigint IS NULL OR m.person_id = %(person)s)
), idle AS (
    SELECT * FROM able a WHERE NOT EXISTS (
        SELECT FROM life l WHERE l.person = a.person AND l.entitlement = a.entitlement
          AND (l.asked BETWEEN %(start)s AND %(moment)s
               OR l.began <= %(moment)s AND coalesce(l.gone > %(start)s, true))))
"""

COUNTS: dict[str, str] = {
    "who-had-access": f"""{_LIFE} SELECT count(*) FROM mine
        WHERE began < %(end)s AND coalesce(gone > %(start)s, true)""",
    "request-population": f"""{_ASKED} SELECT count(*) FROM asked
        WHERE occurred_at >= %(start)s AND occurred_at < %(end)s
          AND (%(person)s::bigint IS NULL OR %(person)s IN (subject_id, requester_id))""",
    "approval-decisions": f"""{_DECIDED} SELECT count(*) FROM decided
        WHERE %(person)s::bigint IS NULL OR %(person)s IN (actor_id, subject_id, requester_id)""",
    "approver-patterns": f"""{_DECIDED} SELECT count(DISTINCT actor_id) FROM decided
        WHERE %(person)s::bigint IS NULL OR actor_id = %(person)s""",
    "handovers": f"""{_ASKED} SELECT
        (SELECT count(*) FROM approvals_requesthandover h JOIN asked a USING (request_id)
         WHERE h.occurred_at >= %(start)s AND h.occurred_at < %(end)s
           AND (%(person)s::bigint IS NULL OR %(person)s IN (h.giver_id, h.taker_id, h.place_id,
                a.subject_id, a.requester_id)))
        + (SELECT count(*) {_REVISIONS} AND event = 'escalated' AND (%(person)s::bigint IS NULL
           OR %(person)s IN (subject_id, requester_id)))""",
    "refused-attempts": f"""{_ASKED} SELECT count(*) FROM approvals_refusedattempt t
        JOIN asked a USING (request_id)
        WHERE t.occurred_at >= %(start)s AND t.occurred_at < %(end)s
          AND (%(person)s::bigint IS NULL
               OR %(person)s IN (t.actor_id, a.subject_id, a.requester_id))""",
    "active-as-of": f"{_LIFE} SELECT count(*) FROM mine WHERE {_THERE}",
    "removal-timeliness": f"{_LIFE} SELECT count(*) FROM due",
    "failed-removals": f"""{_LIFE} SELECT ({_LEFT_OVER}) + count(*) FROM mine m
        WHERE due < %(end)s AND (ended > '-infinity' OR ends <= %(moment)s) AND (
            due + interval '1 minute' <= %(moment)s AND coalesce(gone > %(moment)s, true)
            OR gone > due + interval '1 minute' AND gone >= %(start)s AND gone < %(end)s
            OR EXISTS (SELECT FROM approvals_grantevent e WHERE e.request_id = m.request_id
                       AND e.kind = 'remove_failed' AND e.occurred_at >= %(start)s
                       AND e.occurred_at < %(end)s))""",
    "orphaned-access": _LOOKED.format("count(*)"),
    "leavers-movers": f"{_PEOPLE} SELECT count(*) FROM moved WHERE {_MOVES}",
    "privileged-access": f"""SELECT ({_ROLES}) + ({_STANDING}) + ({_LIFE} SELECT count(*) FROM mine
        WHERE {_THERE} AND risk = 'high'
          AND (%(person)s::bigint IS NULL OR subject = %(person)s))""",
    "configuration-changes": f"SELECT {_CHANGES}",
    "dormant-rights": f"{_IDLE} SELECT count(*) FROM idle",
    "access-reviews": _ITEMS.format("count(*)"),
    "ledger-integrity": "SELECT count(DISTINCT log_id) FROM audit_checkpoint"
    " WHERE signed_at <= %(moment)s",
    "report-downloads": """SELECT count(*) FROM approvals_reportexport
        WHERE occurred_at >= %(start)s AND occurred_at < %(end)s
          AND (%(person)s::bigint IS NULL OR actor_id = %(person)s)""",
}

Rows = Sequence[Mapping[str, Any]]
#: Of the figures above the rows or of the rows: one number of a report.
Told = Callable[[Mapping[str, str], Rows], Any]


def _figure(title: str) -> Told:
    return lambda told, rows: float(told[title].replace(",", ""))


def _sum(key: str) -> Told:
    return lambda told, rows: sum(row[key] or 0 for row in rows)


def _number(key: str, value: str) -> Told:
    return lambda told, rows: sum(row[key] == value for row in rows)


FIGURES: dict[str, tuple[Told, str]] = {
    "who-had-access": (
        _sum("removal_lag_ms"),
        f"""{_LIFE} SELECT sum(round(extract(epoch FROM gone - due) * 1000)) FROM mine
            WHERE NOT kept AND began < %(end)s AND gone > %(start)s""",
    ),
    "request-population": (
        _number("state", "denied"),
        f"""{_ASKED} SELECT count(*) FROM asked a
            WHERE occurred_at >= %(start)s AND occurred_at < %(end)s
              AND (%(person)s::bigint IS NULL OR %(person)s IN (subject_id, requester_id))
              AND EXISTS (SELECT FROM approvals_accessrequest d WHERE d.event = 'denied'
                          AND d.request_id = a.request_id)""",
    ),
    "approval-decisions": (
        _sum("seconds_to_decide"),
        f"""{_DECIDED} SELECT sum(round(extract(epoch FROM occurred_at - asked_at), 3)) FROM decided
            WHERE %(person)s::bigint IS NULL
               OR %(person)s IN (actor_id, subject_id, requester_id)""",
    ),
    "approver-patterns": (
        _figure("Under 10 s"),
        f"""{_DECIDED} SELECT count(*) FROM decided
            WHERE occurred_at < asked_at + interval '10 seconds'
              AND (%(person)s::bigint IS NULL OR actor_id = %(person)s)""",
    ),
    "handovers": (
        _figure("Escalated"),
        f"""SELECT count(*) {_REVISIONS} AND event = 'escalated' AND (%(person)s::bigint IS NULL
            OR %(person)s IN (subject_id, requester_id))""",
    ),
    "refused-attempts": (
        _figure("On their own access"),
        f"""{_ASKED} SELECT count(*) FROM approvals_refusedattempt t JOIN asked a USING (request_id)
            WHERE t.code IN ('self_decision', 'own_access') AND t.occurred_at >= %(start)s
              AND t.occurred_at < %(end)s AND (%(person)s::bigint IS NULL
                OR %(person)s IN (t.actor_id, a.subject_id, a.requester_id))""",
    ),
    "active-as-of": (
        _number("risk", "high"),
        f"{_LIFE} SELECT count(*) FROM mine WHERE {_THERE} AND risk = 'high'",
    ),
    "removal-timeliness": (
        _sum("lag_ms"),
        f"""{_LIFE} SELECT sum(round(extract(epoch FROM gone - due) * 1000)) FROM due
            WHERE NOT kept""",
    ),
    "failed-removals": (
        _number("resolution", "still there"),
        f"""{_LIFE} SELECT ({_LEFT_OVER} AND gone_at IS NULL) + count(*) FROM mine
            WHERE due + interval '1 minute' <= %(moment)s AND gone IS NULL AND due < %(end)s AND (ended > '-infinity' OR ends <= %(moment)s)""",
    ),
    "orphaned-access": (
        _figure("Still there"),
        f"{_FOUND} SELECT count(*) FROM found WHERE {_OPEN_FINDING}",
    ),
    "leavers-movers": (
        _sum("grants_open_then"),
        f"""{_PEOPLE}, held AS (
            SELECT request_id, min(subject_id) AS subject, min(activated_at) AS began,
                   max(removal_confirmed_at) AS gone, min(resource_name) AS resource
            FROM approvals_accessrequest GROUP BY 1)
        SELECT count(*) FROM moved JOIN held ON held.subject = moved.person AND began <= at
            AND coalesce(gone > at, true)
            AND (%(resource)s::text IS NULL OR resource = %(resource)s) WHERE {_MOVES}""",
    ),
    "privileged-access": (_number("kind", "portal role"), _ROLES),
    "configuration-changes": (
        _number("kind", "policy"),
        "SELECT "
        + _changed(
            "policy",
            of_resource=f"""h.id IN (SELECT policy_id FROM approvals_entitlement
                WHERE resource_id = {_OF_RESOURCE})""",
        ),
    ),
    "dormant-rights": (
        _sum("times_asked"),
        f"""{_IDLE} SELECT count(*) FROM idle JOIN life USING (person, entitlement)
            WHERE asked <= %(moment)s""",
    ),
    "access-reviews": (
        _figure("Removed"),
        f"{_ITEMS.format('count(*)')} AND verdict = 'remove'",
    ),
    "ledger-integrity": (
        _figure("Entries"),
        "SELECT coalesce(max(size), 0) FROM audit_checkpoint WHERE signed_at <= %(moment)s",
    ),
    "report-downloads": (
        _sum("rows"),
        """SELECT sum(rows) FROM approvals_reportexport
            WHERE occurred_at >= %(start)s AND occurred_at < %(end)s
              AND (%(person)s::bigint IS NULL OR actor_id = %(person)s)""",
    ),
}


def _events(event: str) -> str:
    return f"SELECT count(*) {_REVISIONS} AND event = '{event}'"


def _took(share: float) -> str:
    return f"""SELECT extract(epoch FROM percentile_cont({share}) WITHIN GROUP
        (ORDER BY occurred_at - submitted_at)) {_REVISIONS} AND event = 'approved'
        AND actor_id IS NOT NULL"""


def _late(share: float) -> str:
    return f"{_LIFE} SELECT percentile_cont({share}) WITHIN GROUP (ORDER BY late) FROM judged"


def _standing(condition: str) -> str:
    """Return the count of requests that stand so now."""
    return f"""SELECT count(*) FROM (
        SELECT DISTINCT ON (request_id) * FROM approvals_accessrequest
        ORDER BY request_id, revision DESC) newest
        WHERE {condition} AND (%(resource)s::text IS NULL OR resource_name = %(resource)s)"""


#: By the names of the dashboard's figures, and of those of its removals. As of now is the moment.
DASHBOARD: dict[str, str] = {
    "grants": _events("activated"),
    "grants_before": """SELECT count(*) FROM approvals_accessrequest WHERE event = 'activated'
        AND occurred_at >= %(start)s - (%(end)s - %(start)s) AND occurred_at < %(start)s
        AND (%(resource)s::text IS NULL OR resource_name = %(resource)s)""",
    "median_to_approve": _took(0.5),
    "p95_to_approve": _took(0.95),
    "lapsed": _events("lapsed"),
    "failed": _events("failed"),
    "escalated": _events("escalated"),
    "escalated_often": f"""SELECT count(*) FROM (SELECT request_id {_REVISIONS}
        AND event = 'escalated' GROUP BY 1 HAVING count(*) > 1) often""",
    "denied": _events("denied"),
    "pending": _standing("state = 'pending'"),
    "overdue": _standing("state = 'pending' AND due_at <= %(moment)s"),
    "stuck": _standing("""(state = 'revoking' AND removal_due_at <= %(moment)s - interval '1 min'
        OR state = 'active' AND ends_at <= %(moment)s - interval '1 min')"""),
    "due": f"{_LIFE} SELECT count(*) FROM due WHERE NOT kept",
    "held": f"{_LIFE} SELECT count(*) FROM due WHERE kept",
    "open": f"{_LIFE} SELECT count(*) FROM due WHERE gone IS NULL",
    "judged": f"{_LIFE} SELECT count(*) FROM judged",
    "quick": f"{_LIFE} SELECT count(*) FROM judged WHERE gone <= due + interval '1 second'",
    "median": _late(0.5),
    "p95": _late(0.95),
    "p99": _late(0.99),
    "worst": f"{_LIFE} SELECT max(late) FROM judged",
}

_GONE = f"{_LIFE} SELECT count(*) FROM due WHERE NOT kept AND "
BANDS: dict[str, str] = {
    "≤ 0.1 s": f"{_GONE} gone <= due + interval '0.1 s'",
    "≤ 1 s": f"{_GONE} gone > due + interval '0.1 s' AND gone <= due + interval '1 s'",
    "≤ 10 s": f"{_GONE} gone > due + interval '1 s' AND gone <= due + interval '10 s'",
    "≤ 1 min": f"{_GONE} gone > due + interval '10 s' AND gone <= due + interval '1 min'",
    "longer": f"{_GONE} gone > due + interval '1 min'",
    "not confirmed": f"{_GONE} gone IS NULL",
}
