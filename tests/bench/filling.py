"""Fills a database with years of requests in minutes, as superuser and past the guards.

The rows are what the services would have written, with two exceptions: the hashes are made up,
though each commits to the one before, and `recorded_at` is what the row says, not when it was
loaded. A bench lists its requests in `bench_request`; `records` makes everything else of that.
"""

from __future__ import annotations

from typing import Any

import psycopg

#: Tables and the triggers that would check or stamp each row one by one.
_LIFTED = [
    ("approvals_accessrequest", "approvals_accessrequest_point"),
    ("approvals_accessrequest", "approvals_accessrequest_stamp"),
    ("approvals_decision", "approvals_decision_stamp"),
    ("approvals_grantevent", "approvals_grantevent_stamp"),
    ("approvals_notice", "approvals_notice_stamp"),
]

# What becomes of a request on each path. `by`: s subject, m manager, d data owner, else the portal.
# `after` counts seconds from the submission, `late` those from the end of the access.
_PATHS = """
CREATE TABLE bench_path (path text, rule text, revision int, event text, state text, by text,
                         level int, after float, late float, made_level int);
INSERT INTO bench_path VALUES
    ('pending1',  'two', 1, 'submitted', 'pending',  's', 1,    0,   NULL, NULL),
    ('pending2',  'two', 1, 'submitted', 'pending',  's', 1,    0,   NULL, NULL),
    ('pending2',  'two', 2, 'voted',     'pending',  'm', 2,    300, NULL, 1),
    ('active',    'two', 1, 'submitted', 'pending',  's', 1,    0,   NULL, NULL),
    ('active',    'two', 2, 'voted',     'pending',  'm', 2,    300, NULL, 1),
    ('active',    'two', 3, 'approved',  'approved', 'd', NULL, 600, NULL, 2),
    ('active',    'two', 4, 'activated', 'active',   '',  NULL, 605, NULL, NULL),
    ('expired',   'one', 1, 'submitted', 'pending',  's', 1,    0,   NULL, NULL),
    ('expired',   'one', 2, 'approved',  'approved', 'm', NULL, 600, NULL, 1),
    ('expired',   'one', 3, 'activated', 'active',   '',  NULL, 605, NULL, NULL),
    ('expired',   'one', 4, 'ended',     'revoking', '',  NULL, NULL, 0.03, NULL),
    ('expired',   'one', 5, 'confirmed', 'expired',  '',  NULL, NULL, 0.06, NULL),
    ('revoked',   'two', 1, 'submitted', 'pending',  's', 1,    0,   NULL, NULL),
    ('revoked',   'two', 2, 'voted',     'pending',  'm', 2,    300, NULL, 1),
    ('revoked',   'two', 3, 'approved',  'approved', 'd', NULL, 600, NULL, 2),
    ('revoked',   'two', 4, 'activated', 'active',   '',  NULL, 605, NULL, NULL),
    ('revoked',   'two', 5, 'ended',     'revoking', 's', NULL, NULL, -300, NULL),
    ('revoked',   'two', 6, 'confirmed', 'revoked',  '',  NULL, NULL, -299.9, NULL),
    ('denied',    'one', 1, 'submitted', 'pending',  's', 1,    0,   NULL, NULL),
    ('denied',    'one', 2, 'denied',    'denied',   'm', NULL, 900, NULL, 1),
    ('cancelled', 'one', 1, 'submitted', 'pending',  's', 1,    0,   NULL, NULL),
    ('cancelled', 'one', 2, 'cancelled', 'cancelled','s', NULL, 60,  NULL, NULL),
    ('lapsed',    'one', 1, 'submitted', 'pending',  's', 1,    0,   NULL, NULL),
    ('lapsed',    'one', 2, 'lapsed',    'lapsed',   '',  NULL, 5184000, NULL, NULL);
CREATE UNLOGGED TABLE bench_request (
    n bigint, path text, subject bigint, entitlement bigint, submitted_at timestamptz,
    duration_seconds int,
    request_id uuid GENERATED ALWAYS AS (
        (lpad(to_hex((extract(epoch FROM submitted_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0')
         || '70008000' || lpad(to_hex(n), 12, '0'))::uuid) STORED);
"""

_RECORDS = """
INSERT INTO approvals_accessrequest (
    recorded_at, request_id, revision, event, state, actor_id, actor_name, occurred_at,
    previous_hash, hash, requester_id, requester_name, subject_id, subject_name, entitlement_id,
    resource_name, entitlement_name, risk, reason, ticket, duration_seconds, starts_at,
    submitted_at, policy_record_id, policy_name, policy_version, rule_name, level, level_name,
    escalations, due_at, target, activated_at, ends_at, end_reason, removal_due_at,
    removal_started_at, removal_confirmed_at, comment, detail)
SELECT x.at, b.request_id, p.revision, p.event, p.state, a.id, coalesce(a.name, 'portal'), x.at,
    CASE WHEN p.revision > 1 THEN sha256((b.n || ':' || p.revision - 1)::bytea) END,
    sha256((b.n || ':' || p.revision)::bytea),
    s.id, s.name, s.id, s.name, e.id, r.name, e.name, e.risk,
    'Look into the stuck refunds of run ' || b.n || ' and put them back into the queue.'
        -- Some people write a lot, and some thousands of them in a row.
        || CASE WHEN b.n / 5000 % 10 = 0 THEN repeat(' It waits for the ledger of the day.', 50)
                ELSE '' END, '',
    b.duration_seconds, NULL, b.submitted_at, h.history_id, h.name, h.version, p.rule, p.level,
    CASE p.level WHEN 1 THEN 'Manager' WHEN 2 THEN 'Data owners' ELSE '' END, 0,
    CASE WHEN p.state = 'pending' THEN x.at + interval '30 days'
         WHEN p.state = 'active' THEN x.ends_at END,
    CASE WHEN p.state IN ('approved', 'active', 'revoking', 'expired', 'revoked')
        THEN jsonb_build_object('connector', r.connector, 'resource_settings', r.settings,
            'entitlement_settings', e.settings, 'secret', r.secret, 'login', s.username, 'email',
            s.email)
        ELSE '{}'::jsonb END,
    CASE WHEN x.is_held THEN x.activated_at END, CASE WHEN x.is_held THEN x.ends_at END,
    CASE WHEN p.late IS NULL THEN '' WHEN b.path = 'expired' THEN 'time' ELSE 'given_back' END,
    CASE WHEN p.late IS NOT NULL THEN x.due_at END,
    CASE WHEN p.late IS NOT NULL THEN x.due_at + interval '0.03 s' END,
    CASE WHEN p.event = 'confirmed' THEN x.due_at + interval '0.06 s' END,
    CASE WHEN p.made_level IS NOT NULL THEN 'Looked at it.' ELSE '' END,
    CASE WHEN p.made_level IS NULL THEN '{}'::jsonb
         ELSE jsonb_build_object('level', p.made_level, 'vote', 1, 'quorum', 1, 'level_name',
             CASE p.made_level WHEN 1 THEN 'Manager' ELSE 'Data owners' END) END
FROM bench_request b
JOIN bench_path p USING (path)
JOIN approvals_user s ON s.id = b.subject
JOIN approvals_entitlement e ON e.id = b.entitlement
JOIN approvals_resource r ON r.id = e.resource_id
CROSS JOIN (SELECT * FROM approvals_historicalpolicy ORDER BY history_id DESC LIMIT 1) h
CROSS JOIN (SELECT array_agg(id ORDER BY id) AS ids FROM approvals_user
            WHERE username IN ('p1', 'p2')) owners
LEFT JOIN approvals_user a ON a.id = CASE p.by
    WHEN 's' THEN s.id WHEN 'm' THEN s.manager_id
    WHEN 'd' THEN owners.ids[1 + (s.manager_id = owners.ids[1])::int] END
CROSS JOIN LATERAL (SELECT b.submitted_at + interval '605 s' AS activated_at,
    b.submitted_at + interval '605 s' + b.duration_seconds * interval '1 s' AS ends_at) t
CROSS JOIN LATERAL (SELECT t.activated_at, t.ends_at,
    p.state IN ('active', 'revoking', 'expired', 'revoked') AS is_held,
    t.ends_at - CASE WHEN b.path = 'revoked' THEN interval '300 s' ELSE interval '0' END AS due_at,
    CASE WHEN p.late IS NULL THEN b.submitted_at + p.after * interval '1 s'
         ELSE t.ends_at + p.late * interval '1 s' END AS at) x
ORDER BY b.n, p.revision;

INSERT INTO approvals_decision (recorded_at, request_id, revision, seen_revision, level, level_name,
    escalations, actor_id, actor_name, verdict, comment, asked_at, occurred_at)
SELECT occurred_at, request_id, revision, revision - 1, (detail->>'level')::int,
    detail->>'level_name', 0, actor_id, actor_name,
    CASE event WHEN 'denied' THEN 'deny' ELSE 'approve' END, comment, submitted_at, occurred_at
FROM approvals_accessrequest WHERE id > :mark AND detail ? 'level' ORDER BY id;

INSERT INTO approvals_grantevent (recorded_at, request_id, kind, attempt, started_at, occurred_at,
    permanent, error, detail)
SELECT occurred_at, request_id, CASE event WHEN 'activated' THEN 'granted' ELSE 'removed' END, 1,
    occurred_at - interval '0.03 s', occurred_at, false, '', '{}'
FROM approvals_accessrequest
WHERE id > :mark AND event IN ('activated', 'confirmed') ORDER BY id;

SELECT approvals_rebuild_current();

INSERT INTO approvals_notice (recorded_at, request_id, kind, channel, recipient_id, recipient_name,
    address, subject_line, once_key, occurred_at)
SELECT r.occurred_at, r.request_id, 'decided', 'email', r.requester_id, r.requester_name,
    'someone@example.com', 'Your request was decided', r.request_id || ':decided::' ||
    r.requester_id, r.occurred_at
FROM approvals_accessrequest r
WHERE r.id > :mark AND r.event IN ('approved', 'denied', 'lapsed') ORDER BY r.id;

INSERT INTO approvals_asked (request_id, person_id, due_at, asked_at)
SELECT c.request_id, approver.id, c.due_at, c.due_at - interval '30 days'
FROM approvals_currentrequest c JOIN approvals_user s ON s.id = c.subject_id,
LATERAL (SELECT s.manager_id AS id WHERE c.revision = 1
         UNION ALL SELECT m.person_id FROM approvals_membership m
         JOIN approvals_group g ON g.id = m.group_id
         WHERE g.name = 'data' AND c.revision = 2 AND m.person_id <> s.manager_id) approver
WHERE c.state = 'pending' AND c.record_id > :mark;

INSERT INTO approvals_waiting (request_id, revision, watches, reached)
SELECT c.request_id, c.revision, ARRAY['g:data', 'p:' || s.id, 'p:' || s.manager_id,
    'r:' || c.entitlement_id], true
FROM approvals_currentrequest c JOIN approvals_user s ON s.id = c.subject_id
WHERE c.state = 'pending' AND c.record_id > :mark;

INSERT INTO approvals_outboxitem (topic, lane, key, payload, not_before, attempts, last_error,
    created_at)
SELECT 'notice.send', 'notices', '', jsonb_build_object('kind', 'ends_soon', 'request_id',
    c.request_id, 'revision', c.revision, 'recipient', c.subject_id, 'once_key',
    c.request_id || ':ends_soon::' || c.subject_id), c.due_at - interval '15 min', 0, '',
    c.activated_at
FROM approvals_currentrequest c
WHERE c.record_id > :mark AND c.state = 'active' AND c.due_at - interval '15 min' > clock_timestamp();

INSERT INTO approvals_outboxitem (topic, lane, key, payload, not_before, attempts, last_error,
    created_at)
SELECT 'request.remind', 'due', '', jsonb_build_object('request_id', c.request_id, 'level',
    c.revision, 'escalations', 0, 'at', c.due_at - interval '20 days'),
    c.due_at - interval '20 days', 0, '', c.submitted_at
FROM approvals_currentrequest c WHERE c.state = 'pending' AND c.record_id > :mark;
"""


def prepare(admin: psycopg.Connection[Any]) -> None:
    """Make the tables that `records` reads: the paths, and an empty `bench_request`."""
    admin.execute(_PATHS)


def records(admin: psycopg.Connection[Any]) -> None:
    """Make revisions, pointer, decisions, evidence, index and outbox of every `bench_request`.

    `bench_request` is empty afterwards, so that more can be listed and made.
    """
    row = admin.execute("SELECT coalesce(max(id), 0) FROM approvals_accessrequest").fetchone()
    assert row is not None
    for table, trigger in _LIFTED:
        admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}".encode())
    admin.execute("SET session_replication_role = replica")
    try:
        for statement in _RECORDS.split(";\n"):
            if statement.strip():
                admin.execute(statement.replace(":mark", str(row[0])).encode())
        admin.execute("TRUNCATE bench_request")
    finally:
        admin.execute("RESET session_replication_role")
        for table, trigger in _LIFTED:
            admin.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}".encode())
    admin.execute("VACUUM ANALYZE")
