"""Each report's numbers against an independent count in SQL, on a small history of every kind."""

import json
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any

import pytest
from django.db import connection

from approvals import handlers
from approvals.domain.states import EndReason
from approvals.models import AccessRequest, Group, Membership, OutboxItem, Policy, User
from approvals.reports import registry
from approvals.reports.frame import Filters
from approvals.selectors import clock, sentences
from approvals.services import directory, grants
from tests import one_clock
from tests.audit.sealer import new_signer, seal
from tests.connectors.noop import Noop
from tests.world import World


def filters(**more: Any) -> Filters:
    today = clock.now().date()
    values: dict[str, Any] = {
        "first": today - timedelta(days=1), "last": today + timedelta(days=1), "zone": UTC,
    }  # fmt: skip
    return Filters(**(values | more))


def rows(name: str, chosen: Filters | None = None) -> list[dict[str, Any]]:
    report = registry.report(name)
    chosen = chosen or filters()
    found = list(report.rows(chosen, None, None))
    assert report.count(chosen) == len(found)
    if report.buckets and chosen.resource_id is None:
        for unit in ("week", "month"):
            assert sum(report.buckets(chosen, unit).values()) == len(found)
    keys = [column.key for column in report.columns]
    return [dict(zip(keys, row.cells, strict=True)) for row in found]


def sql(query: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def figures(name: str, chosen: Filters | None = None) -> dict[str, str]:
    return dict(registry.report(name).figures(chosen or filters()))


def another(world: World, login: str, **more: Any) -> User:
    more = {"name": login.title(), "manager": world.bob} | more
    person = User.objects.create_user(login, f"{login}@example.com", None, **more)
    Membership.objects.create(person=person, group=Group.objects.get(name="eng"))
    return person


@pytest.fixture
def history(world: World) -> World:
    """Requests in most states: ended, active, denied, pending, cancelled by a leaver."""
    world.ended(minutes=1)
    world.active(by=another(world, "frank"))
    world.decide(world.bob, world.ask(by=another(world, "gina")), "deny")
    world.ask(by=another(world, "hank"))
    return world


def test_the_population_is_every_first_revision(history: World) -> None:
    found = rows("request-population")
    expected = sql(
        "SELECT r.request_id::text, (SELECT n.state FROM approvals_accessrequest n"
        " WHERE n.request_id = r.request_id ORDER BY n.revision DESC LIMIT 1)"
        " FROM approvals_accessrequest r WHERE r.event = 'submitted'"
    )
    assert sorted((row["request_id"], row["state"]) for row in found) == sorted(expected)
    assert sorted(row["state"] for row in found) == ["active", "denied", "expired", "pending"]
    for row in found:
        record = AccessRequest.objects.get(request_id=row["request_id"], revision=1)
        assert (row["reason"], row["submitted_at"]) == (record.reason, record.occurred_at)
        assert row["policy"] == "orders-read-write version 1"


def test_what_was_active_is_what_the_revisions_said_at_each_moment(world: World) -> None:
    """The report's facts agree with a replay of the revisions, before and after every change."""
    first = world.active()
    world.active(by=another(world, "frank"))
    grants.end(
        actor=world.alice,
        request_id=first.request_id,
        reason=EndReason.GIVEN_BACK,
        comment="Done.",
        now=clock.now(),
    )
    handlers.work("provisioning")
    hair = timedelta(microseconds=1)
    moments = [
        at + step
        for (at,) in sql(
            "SELECT occurred_at FROM approvals_accessrequest WHERE event <> 'confirmed'"
        )
        for step in (-hair, hair)
    ]
    # The target was rid of it a little before that could be written down.
    ((gone_at, written_at),) = sql(
        "SELECT removal_confirmed_at, occurred_at FROM approvals_accessrequest"
        " WHERE event = 'confirmed'"
    )
    seen = set()
    for moment in [*moments, gone_at - hair, written_at + hair]:
        expected = sql(
            "SELECT request_id::text, state FROM (SELECT DISTINCT ON (request_id) request_id, state"
            " FROM approvals_accessrequest WHERE occurred_at <= %s"
            " ORDER BY request_id, revision DESC) newest WHERE state IN ('active', 'revoking')",
            moment,
        )
        found = rows("active-as-of", filters(at=moment))
        assert sorted((it["request_id"], it["state_then"]) for it in found) == sorted(expected)
        seen.add(tuple(sorted(state for _, state in expected)))
    assert seen == {(), ("active",), ("active", "active"), ("active", "revoking")}


def test_a_removal_that_is_not_confirmed_was_still_there(world: World) -> None:
    request = world.active(minutes=1)
    assert request.ends_at is not None
    grants.end_due(now=request.ends_at)
    later = request.ends_at + timedelta(hours=1)
    (row,) = rows("active-as-of", filters(at=later))
    assert (row["state_then"], row["gone_at"]) == ("revoking", None)


def test_each_end_has_its_lag_and_the_percentiles_are_theirs(history: World) -> None:
    for number, seconds in enumerate((0.2, 3, 90)):
        request = history.active(by=another(history, f"p{number}"), minutes=2 + number)
        assert request.ends_at is not None
        grants.end_due(now=request.ends_at + timedelta(seconds=seconds))
        handlers.work("provisioning", now=request.ends_at + timedelta(seconds=seconds))
    chosen = filters(at=clock.now() + timedelta(minutes=20))
    found = rows("removal-timeliness", chosen)
    expected = sql(
        "SELECT request_id::text, round(extract(epoch FROM removal_confirmed_at - removal_due_at)"
        " * 1000)::int FROM approvals_accessrequest WHERE event = 'confirmed'"
    )
    assert sorted((row["request_id"], row["lag_ms"]) for row in found) == sorted(expected)
    assert all(row["attempts"] == 1 and row["failures"] == 0 for row in found)
    ((count, quick, worst),) = sql(
        "SELECT count(*), count(*) FILTER (WHERE lag <= interval '1 second'),"
        " extract(epoch FROM max(lag)) FROM (SELECT removal_confirmed_at - removal_due_at AS lag"
        " FROM approvals_accessrequest WHERE event = 'confirmed') e"
    )
    told = figures("removal-timeliness", chosen)
    assert (told["Due"], told["Not confirmed"]) == (str(count), "0")
    assert told["Within 1 s"] == f"{quick * 10_000 // count / 100:g} %"
    assert worst > 60
    late = rows("failed-removals", chosen)
    assert [row["request_id"] for row in late] == [key for key, lag in expected if lag > 60_000]
    assert {row["resolution"] for row in late} == {"removed"}


def test_login_and_session_lags_are_those_that_the_targets_answers_tell(world: World) -> None:
    """The rows against the events of the calls, the figures against Python's own percentiles."""
    receipts: list[dict[str, Any]] = [
        {"refused_after_ms": 40}, {"refused_after_ms": 900}, {"refused_at_end": True}, {},
    ]  # fmt: skip
    for number, receipt in enumerate(receipts):
        request = world.active(by=another(world, f"p{number}"), minutes=1 + number)
        due_at = request.ends_at
        assert due_at is not None
        grants.end_due(now=due_at)
        late = timedelta(seconds=1 + number)
        attempt = grants.Attempt(1, due_at + late / 2, due_at + late, detail=receipt)
        grants.confirm_many([(request.request_id, attempt)], now=due_at + late)
    chosen = filters(at=clock.now() + timedelta(minutes=20))
    found = {row["request_id"]: row for row in rows("removal-timeliness", chosen)}
    logins = dict(
        sql(
            "SELECT e.request_id::text, CASE WHEN e.detail ? 'refused_at_end' THEN 0 ELSE"
            " round(extract(epoch FROM e.started_at - a.ends_at) * 1000)::int"
            " + (e.detail ->> 'refused_after_ms')::int END FROM approvals_grantevent e"
            " JOIN approvals_accessrequest a USING (request_id)"
            " WHERE e.kind = 'removed' AND a.event = 'activated'"
        )
    )
    sessions = dict(
        sql(
            "SELECT e.request_id::text, CASE WHEN e.detail ? 'refused_after_ms' THEN"
            " round(extract(epoch FROM e.occurred_at - a.ends_at) * 1000)::int END"
            " FROM approvals_grantevent e JOIN approvals_accessrequest a USING (request_id)"
            " WHERE e.kind = 'removed' AND a.event = 'activated'"
        )
    )
    assert {key: row["login_lag_ms"] for key, row in found.items()} == logins
    assert {key: row["session_lag_ms"] for key, row in found.items()} == sessions
    assert sorted(map(str, logins.values())) == ["0", "1900", "540", "None"]
    told = figures("removal-timeliness", chosen)
    for name, lags in (("Login", logins), ("Session", sessions)):
        known = [lag / 1000 for lag in lags.values() if lag is not None]
        percents = quantiles(known, n=100, method="inclusive")
        expected = " · ".join(sentences.short(percents[at - 1]) for at in (50, 95, 99))
        assert told[f"{name} lag, median · p95 · p99"] == expected


def test_a_removal_that_fails_is_told_with_its_errors_and_stays_open(
    world: World, noop: Noop
) -> None:
    request = world.active(minutes=1)
    assert request.ends_at is not None
    noop.control(fail="transient")
    grants.end_due(now=request.ends_at)
    handlers.work("provisioning", now=request.ends_at)
    later = request.ends_at + timedelta(minutes=5)
    ((failures, error),) = sql(
        "SELECT count(*), max(error) FROM approvals_grantevent WHERE kind = 'remove_failed'"
    )
    (row,) = rows("failed-removals", filters(at=later))
    assert failures == row["failures"] >= 1
    assert row["last_error"] == error != ""
    assert (row["resolution"], row["confirmed_at"], row["owner"]) == ("still there", None, "Carol")
    (timely,) = rows("removal-timeliness", filters(at=later))
    assert (timely["lag_ms"], timely["state"], timely["last_error"]) == (None, "revoking", error)
    assert figures("removal-timeliness", filters(at=later))["Not confirmed"] == "1"
    far = later.date() + timedelta(days=30)
    open_still = rows("failed-removals", filters(first=far, last=far, at=later))
    assert len(open_still) == 1  # however long ago it was due


def test_an_end_that_nobody_began_is_due_all_the_same(world: World) -> None:
    """Where the portal stood still, an active grant past its end is told, without a start."""
    request = world.active(minutes=1)
    assert request.ends_at is not None
    (row,) = rows("removal-timeliness", filters(at=request.ends_at + timedelta(seconds=1)))
    assert (row["state"], row["started_at"], row["due_at"]) == ("active", None, request.ends_at)
    assert rows("removal-timeliness", filters(at=request.ends_at - timedelta(seconds=1))) == []
    assert rows("failed-removals", filters(at=request.ends_at + timedelta(seconds=61)))


def test_leavers_and_movers_are_those_of_the_histories(history: World) -> None:
    frank: Any = User.objects.get(username="frank")
    frank.is_active = False
    frank._change_reason = "Left the company."
    frank._history_user = history.admin
    frank.save()
    frank._change_reason = ""
    frank.title = "Former"  # a later change of somebody who left already is no leaving
    frank.save()
    one_clock.settle()  # histories go by the database's own clock
    now = clock.now()
    directory.settle_leaver(frank, now=now)
    handlers.work("provisioning", now=now)
    Membership.objects.get(person__username="gina").delete()
    Membership.objects.create(
        person=history.mallory,
        group=Group.objects.get(name="eng"),
        granted_by=AccessRequest.objects.first().request_id,  # type: ignore[union-attr]
    ).delete()
    found = {(row["login"], row["event"]): row for row in rows("leavers-movers")}
    assert found.keys() == {("frank", "left"), ("gina", "lost group")}
    left = found["frank", "left"]
    ((open_then, gone, seconds),) = sql(
        "SELECT count(*), count(r.removal_confirmed_at),"
        " extract(epoch FROM max(r.removal_confirmed_at) - h.history_date)"
        " FROM approvals_historicaluser h"
        " JOIN approvals_currentrequest c ON c.subject_id = h.id AND c.activated_at IS NOT NULL"
        " JOIN approvals_accessrequest r ON r.id = c.record_id"
        " WHERE h.id = %s AND h.history_change_reason = 'Left the company.'"
        " GROUP BY h.history_date",
        frank.pk,
    )
    assert (left["grants_open_then"], left["grants_removed"]) == (open_then, gone) == (1, 1)
    assert left["last_removal_seconds"] == pytest.approx(float(seconds), abs=0.001)
    assert (left["by"], left["reason"]) == ("Admin", "Left the company.")
    assert (found["gina", "lost group"]["group"], left["group"]) == ("Engineering", "")


def test_privileged_access_is_roles_and_high_risk_grants_of_that_moment(history: World) -> None:
    before = clock.now()
    later = before + timedelta(seconds=1)
    found = rows("privileged-access", filters(at=later))
    roles = sql(
        "SELECT u.username, g.role || ' (' || g.name || ')' FROM approvals_membership m"
        " JOIN approvals_user u ON u.id = m.person_id JOIN approvals_group g ON g.id = m.group_id"
        " WHERE g.role <> ''"
    )
    standing = [(it["login"], it["entitlement"]) for it in found if it["kind"] == "portal role"]
    assert sorted(standing) == sorted(roles)
    assert {it["term"] for it in found if it["kind"] == "portal role"} == {"standing"}
    granted = [it["request_id"] for it in found if it["kind"] == "high-risk grant"]
    live = sql(
        "SELECT request_id::text FROM approvals_accessrequest r WHERE risk = 'high'"
        " AND event = 'activated' AND NOT EXISTS (SELECT FROM approvals_accessrequest e"
        " WHERE e.request_id = r.request_id AND e.removal_confirmed_at <= %s)",
        later,
    )
    assert sorted(granted) == sorted(key for (key,) in live)
    Membership.objects.filter(person=history.dora).first().delete()  # type: ignore[union-attr]
    after = clock.now() + timedelta(seconds=1)
    assert "dora" not in {it["login"] for it in rows("privileged-access", filters(at=after))}
    then = {it["login"] for it in rows("privileged-access", filters(at=before))}
    assert "dora" in then  # the past stays as it was


def test_changes_are_the_history_rows_with_every_field(history: World) -> None:
    policy: Any = Policy.objects.get(name="orders-read-write")
    document = json.loads(json.dumps(policy.document))
    document["rules"][0]["longest"] = 3600
    policy.document = document
    policy._history_user = history.admin
    policy._change_reason = "Shorter."
    policy.save()
    OutboxItem.objects.all().delete()
    found = rows("configuration-changes")
    counts = {
        kind: sql(f"SELECT count(*) FROM approvals_historical{kind}")[0][0]
        for kind in ("policy", "resource", "entitlement", "group", "membership", "user")
    }
    told: dict[str, int] = {}
    for row in found:
        told[row["kind"]] = told.get(row["kind"], 0) + 1
    assert told == {**{k: v for k, v in counts.items() if k != "user"}, "person": counts["user"]}
    newest = found[0]
    assert (newest["kind"], newest["object"]) == ("policy", "orders-read-write")
    assert (newest["author"], newest["reason"]) == ("Admin", "Shorter.")
    before, after = json.loads(newest["before"]), json.loads(newest["after"])
    assert before.keys() == after.keys() == {"document", "version"}
    assert before["document"]["rules"][0]["longest"] == 28_800
    assert after["document"] == document
    assert "at most 8 h → 1 h" in newest["changes"]
    under = sql(
        "SELECT count(*) FROM approvals_accessrequest r JOIN approvals_historicalpolicy h"
        " ON h.history_id = r.policy_record_id WHERE r.revision = 1 AND h.version = 1"
        " AND h.name = 'orders-read-write'"
    )
    first = next(
        row for row in found if row["object"] == "orders-read-write" and row["operation"] == "added"
    )
    assert first["requests_affected"] == under[0][0] == 4
    assert newest["requests_affected"] == 0
    assert "password" not in json.dumps([(row["before"], row["after"]) for row in found])


def test_changes_can_be_of_one_resource_or_one_person(history: World) -> None:
    of_resource = rows("configuration-changes", filters(resource_id=history.resource.pk))
    assert {row["kind"] for row in of_resource} == {"resource", "entitlement", "policy"}
    of_alice = rows("configuration-changes", filters(person_id=history.alice.pk))
    assert {row["kind"] for row in of_alice} == {"person", "membership"}


@pytest.mark.django_db(transaction=True)
def test_the_logs_report_is_what_its_tables_say(world: World) -> None:
    world.ended(minutes=1)
    assert rows("ledger-integrity") == []
    log = seal(new_signer())
    world.ask()
    (row,) = rows("ledger-integrity")
    ((entries, first, last),) = sql(
        "SELECT count(*), min(index), max(index) FROM audit_leaf WHERE log_id = %s", log.pk
    )
    assert (row["entries"], row["first_leaf"], row["last_leaf"]) == (entries, first, last)
    assert (row["log"], row["gaps"], row["signature"]) == (log.origin, 0, "valid")
    assert row["verification"] == "never verified"
    assert row["outside_holders"].startswith("nobody outside")
    told = figures("ledger-integrity")
    ((waiting,),) = sql(
        "SELECT count(*) FROM audit_entry e WHERE NOT EXISTS"
        " (SELECT FROM audit_leaf l WHERE l.entry_id = e.id)"
    )
    assert (told["Entries"], told["Waiting to be sealed"]) == (str(entries), str(waiting))
    assert waiting > 0


def test_moments_of_a_report_are_aware(history: World) -> None:
    for report in registry.REPORTS:
        for row in report.rows(filters(), None, None):
            for column, cell in zip(report.columns, row.cells, strict=True):
                if column.kind == "moment" and cell is not None:
                    assert isinstance(cell, datetime), (report.id, column.key)
                    assert cell.tzinfo is not None
