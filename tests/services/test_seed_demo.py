"""The demo's world: made once, through the services, with nothing of its past left open."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import override_settings

from approvals.domain.states import OPEN
from approvals.management.demo_world import people, plans, reviewing
from approvals.models import (
    AccessRequest,
    Asked,
    CurrentRequest,
    Entitlement,
    GrantEvent,
    Group,
    Membership,
    Notice,
    OutboxItem,
    Policy,
    RefusedAttempt,
    RequestHandover,
    RequestMessage,
    Resource,
    ReviewDecision,
    ReviewItem,
    User,
)
from approvals.reports import registry
from approvals.reports.frame import Filters
from approvals.selectors import chains, clock, questions, reviews
from approvals.selectors import requests as reads
from approvals.services import checking, configured, provisioning, requests, ssh_keys
from jitportal.embedded import bastion, roles
from tests.demo import seed, told
from tests.world import World

__all__ = ["told"]


@pytest.fixture
def undone(told: str) -> Iterator[None]:
    """Undo what one test writes."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def test_it_works_with_the_rights_of_the_app(told: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone()[0] == roles.APP
    assert "requests of 40 days" in told


def test_a_second_run_changes_nothing_and_says_so(told: str) -> None:
    before = (User.objects.count(), AccessRequest.objects.count(), OutboxItem.objects.count())
    assert "Nothing was changed" in seed()
    after = (User.objects.count(), AccessRequest.objects.count(), OutboxItem.objects.count())
    assert before == after


def test_records_and_indexes_are_consistent(told: str) -> None:
    assert [*checking.differences(now=clock.now()), *configured.differences(now=clock.now())] == []


def test_nothing_of_the_past_is_open(told: str) -> None:
    still = AccessRequest.objects.filter(
        id__in=CurrentRequest.objects.filter(state__in=OPEN).values("record_id")
    )
    assert {row.state for row in still} == {"pending", "active"}
    early = [row for row in still if clock.now() - row.submitted_at > timedelta(minutes=5)]
    assert [(row.subject_name, row.event) for row in early] == [("Marta Kowalczyk", "escalated")]
    assert clock.now() - early[0].submitted_at < timedelta(hours=1)
    held = {row.subject_id for row in still if row.state == "active"}
    granted = Membership.objects.exclude(granted_by=None)
    assert set(granted.values_list("person_id", flat=True)) == held, "what is active is there"
    assert len(held) == len(reviewing.REVIEWED_NOW)


def test_no_mail_and_no_work_is_left_of_the_past(told: str) -> None:
    live = set(CurrentRequest.objects.filter(state__in=OPEN).values_list("request_id", flat=True))
    rows = list(OutboxItem.objects.exclude(topic__in=["review.notice", "report.run"]))
    assert {row.payload["request_id"] for row in rows} == {str(key) for key in live}
    assert {row.topic for row in rows} == {"notice.send", "request.remind"}
    about = {row.payload["campaign"] for row in OutboxItem.objects.filter(topic="review.notice")}
    assert about == {str(row.campaign_id) for row in reviews.running()}
    assert not Notice.objects.exists()


def test_the_past_is_written_in_the_order_in_which_it_happened(told: str) -> None:
    moments = list(AccessRequest.objects.order_by("id").values_list("occurred_at", flat=True))
    assert moments == sorted(moments)
    assert moments[-1] <= clock.now()


def test_the_past_has_many_ends(told: str) -> None:
    states = Counter(CurrentRequest.objects.values_list("state", flat=True))
    assert states["expired"] > 20
    assert {"expired", "revoked", "denied", "pending"} <= states.keys()
    lags = [
        row.removal_lag
        for row in AccessRequest.objects.filter(state__in=["expired", "revoked"])
        if row.removal_lag is not None
    ]
    assert sorted(lags)[len(lags) // 2] < timedelta(seconds=1)
    assert min(lags) > timedelta(0)
    kinds = set(GrantEvent.objects.values_list("kind", flat=True))
    assert {"granted", "removed"} <= kinds


def test_a_review_of_the_past_is_signed_off_and_one_access_was_removed_by_it(told: str) -> None:
    (done,) = [row for row in reviews.newest() if not row.campaign.is_open]
    assert done.campaign.event == "signed_off"
    assert (done.left, done.removed) == (0, 1)
    assert done.kept >= 3
    assert done.gone >= 1, "one had ended before anybody decided"
    removed = ReviewDecision.objects.get(verdict="remove")
    assert removed.actor is not None
    assert removed.seconds == 120
    grant = reads.current(removed.request_id)
    assert (grant.state, grant.end_reason) == ("revoked", "revoked")
    assert (
        removed.reason
        in AccessRequest.objects.get(request_id=grant.request_id, state="revoking").comment
    )
    assert GrantEvent.objects.filter(request_id=grant.request_id, kind="removed").exists()
    today = clock.now().date()
    filters = Filters(first=today - timedelta(days=plans.DAYS), last=today, zone=UTC)
    lines = list(registry.report("access-reviews").rows(filters, None, None))
    assert (
        len(lines)
        == ReviewItem.objects.count()
        == sum(row.campaign.items for row in reviews.newest())
    )


def test_a_review_runs_and_managers_are_asked(told: str) -> None:
    (open_now,) = [row for row in reviews.newest() if row.campaign.is_open]
    assert (open_now.decided, open_now.left) == (0, 3)
    for login in ("sofia", "carol", "ingrid"):
        assert reviews.waiting_count(person=User.objects.get(username=login)) == 1, login


def test_someone_waits_for_bob_for_carol_and_for_erin(told: str) -> None:
    for login in ("bob", "carol", "erin"):
        person = User.objects.get(username=login)
        assert reads.inbox(person=person), login
    soon = clock.now() + timedelta(minutes=5)
    assert Asked.objects.filter(person__username="bob", due_at__lt=soon).count() == 1


def test_bob_has_some_of_each_risk_to_decide_and_all_but_one_wait_for_him(told: str) -> None:
    waiting = [item.record for item in reads.inbox(person=User.objects.get(username="bob"))]
    assert len(waiting) == 6
    assert {row.risk for row in waiting} == {"low", "medium", "high"}
    assert len([row for row in waiting if row.starts_at]) == 1
    assert len([row for row in waiting if row.escalations]) == 1, "one was left lying"
    soon = clock.now() + timedelta(minutes=20)
    assert len([row for row in waiting if row.due_at and row.due_at > soon]) == 5


def test_questions_of_the_past_are_answered_and_one_of_today_is_open(told: str) -> None:
    said = RequestMessage.objects.order_by("id")
    *past, today = [row for row in said if row.kind == "question"]
    assert len(past) == 2
    for question in past:
        answer = said.get(request_id=question.request_id, answers=question.number)
        assert question.occurred_at < answer.occurred_at
        assert reads.current(question.request_id).state != "pending"
    assert questions.open_numbers(today.request_id) == [1]
    assert (today.actor.username, reads.current(today.request_id).state) == ("bob", "pending")


def test_everybody_has_the_password_of_the_demo(told: str) -> None:
    assert User.objects.count() == len(people.PEOPLE)
    assert User.objects.get(username="alice").check_password("demo")
    with_role = {login: User.objects.get(username=login).roles for login in ("admin", "dora")}
    assert with_role == {"admin": {"operator"}, "dora": {"compliance"}}


def test_the_leaver_is_gone_and_holds_nothing(told: str) -> None:
    leaver = User.objects.get(username=people.LEAVER)
    assert not leaver.is_active
    assert not CurrentRequest.objects.filter(subject=leaver, state__in=OPEN).exists()
    last = AccessRequest.objects.filter(subject=leaver).latest("id")
    assert last.end_reason in ("left", "time", "given_back")


def test_entitlements_are_what_their_connectors_can_grant(told: str) -> None:
    script = roles.script("orders_roles.sql").as_string(None)
    for row in Entitlement.objects.select_related("resource"):
        assert not provisioning.validate(
            row.resource.connector,
            resource_settings=row.resource.settings,
            entitlement_settings=row.settings,
        )
        if "role" in row.settings:
            assert f"'{row.settings['role']}'" in script


def test_alice_asks_for_two_minutes_and_bob_and_a_data_owner_approve(undone: None) -> None:
    alice, bob, carol = (User.objects.get(username=who) for who in ("alice", "bob", "carol"))
    write = Entitlement.objects.get(name="read-write")
    now = clock.now()
    request = requests.submit(
        actor=alice, subject=alice, entitlement=write, duration=timedelta(minutes=2),
        reason="Reprocess stuck refunds.", now=now,
    )  # fmt: skip
    assert request.due_at == now + timedelta(seconds=120)
    for who in (bob, carol):
        assert request.state == "pending"
        request = requests.decide(
            actor=who, request_id=request.request_id, verdict="approve",
            seen_revision=request.revision, now=now,
        )  # fmt: skip
    assert request.state == "approved"


def test_a_silent_level_goes_to_erin(told: str) -> None:
    row = AccessRequest.objects.filter(entitlement_name="read-write", revision=1).latest("id")
    assert row.due_at is not None
    view = chains.load(row, now=row.due_at + timedelta(seconds=1))
    assert view is not None
    assert "Erin Sato" in view.names_of(view.electorate)


def test_reading_is_approved_by_its_rule(undone: None) -> None:
    alice = User.objects.get(username="alice")
    request = requests.submit(
        actor=alice, subject=alice, entitlement=Entitlement.objects.get(name="read"),
        duration=timedelta(hours=1), reason="Look at order 12.", now=clock.now(),
    )  # fmt: skip
    assert request.state == "approved"


def test_a_granted_group_opens_reports(undone: None) -> None:
    entitlement = Entitlement.objects.get(name="report-reader")
    liam = User.objects.get(username="liam")
    assert not liam.is_compliance
    Membership.objects.create(
        person=liam, group=Group.objects.get(name=entitlement.settings["group"])
    )
    assert User.objects.get(pk=liam.pk).is_compliance


# -- the SSH target


@pytest.fixture
def described(tmp_path: Path) -> Path:
    file = tmp_path / "target.json"
    told = {
        "resource": {"host": "127.0.0.1", "port": 2222, "krl_file": "/demo/revoked.krl"},
        "account": "someone", "secret": "env:BASTION_CA", "shell": "bastion-shell",
        "logs": "bastion-logs", "logs_command": "tail /demo/sshd.log", "ends_sessions": True,
        "hint": "ssh -F /demo/ssh_config bastion",
        "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9W8mcqRD8dXDr2vGKIw8+P1Rqpq4Jf0zMSgYPWzGYZ",
    }  # fmt: skip
    file.write_text(json.dumps(told))
    return file


def test_without_sshd_nothing_refers_to_it(told: str) -> None:
    assert not Resource.objects.filter(connector="ssh_certificate").exists()
    assert not Policy.objects.filter(name__startswith="bastion").exists()
    assert not ssh_keys.of(User.objects.get(username="alice"))


def lacks(described: Path) -> bool:
    """Whether the demo would have its target configured when it starts."""
    wanted = json.dumps(json.loads(described.read_text())["resource"])
    with connection.cursor() as cursor:
        cursor.execute(bastion.LACKED, [wanted])
        return bool(cursor.fetchone())


def test_sshd_that_came_later_becomes_a_target(undone: None, described: Path) -> None:
    assert lacks(described)
    assert "bastion was added" in seed(bastion=described)
    assert not lacks(described)
    resource = Resource.objects.get(name="bastion")
    assert (resource.owner.username, resource.secret) == ("carol", "env:BASTION_CA")
    rights = {row.name: row for row in resource.entitlements.all()}
    assert {name: row.risk for name, row in rights.items()} == {"shell": "medium", "logs": "low"}
    for row in rights.values():
        assert not provisioning.validate(
            "ssh_certificate",
            resource_settings=resource.settings,
            entitlement_settings=row.settings,
        )
    alice, bob = (User.objects.get(username=who) for who in ("alice", "bob"))
    assert len(ssh_keys.of(alice)) == 1

    def ask(right: str) -> AccessRequest:
        return requests.submit(
            actor=alice, subject=alice, entitlement=rights[right], duration=timedelta(minutes=2),
            reason="Restart the stuck worker.", now=clock.now(),
        )  # fmt: skip

    assert ask("logs").state == "approved"
    request = ask("shell")
    assert request.state == "pending"
    request = requests.decide(
        actor=bob, request_id=request.request_id, verdict="approve",
        seen_revision=request.revision, now=clock.now(),
    )  # fmt: skip
    assert request.state == "approved"


def test_sshd_that_moved_is_found_again(undone: None, described: Path) -> None:
    seed(bastion=described)
    told = json.loads(described.read_text())
    told["resource"]["port"] = 2345
    described.write_text(json.dumps(told))
    assert lacks(described)
    assert "where sshd is now" in seed(bastion=described)
    resource = Resource.objects.get(name="bastion")
    assert resource.settings["port"] == 2345
    assert resource.history.latest("history_id").history_change_reason == "The demo's sshd moved."
    assert resource.entitlements.count() == 2
    assert len(ssh_keys.of(User.objects.get(username="alice"))) == 1


# -- refusals


@pytest.mark.django_db
def test_it_refuses_where_there_is_no_demo() -> None:
    with override_settings(DEMO=False), pytest.raises(CommandError, match="not a demo"):
        call_command("seed_demo")
    assert not User.objects.exists()


def test_it_refuses_a_database_with_other_people(world: World) -> None:
    before = Policy.objects.count()
    with pytest.raises(CommandError, match="not the demo's"):
        seed()
    assert Policy.objects.count() == before


# -- the plan


def test_the_plan_is_always_the_same_and_has_everything() -> None:
    until = datetime(2026, 3, 2, 12, tzinfo=UTC)
    began_at = until - timedelta(days=150)
    left_at = began_at + timedelta(days=100)

    def make() -> list[plans.Plan]:
        return plans.make(began_at=began_at, until=until, leaver_left_at=left_at)

    found = make()
    assert [repr(plan) for plan in found] == [repr(plan) for plan in make()]
    assert 200 < len(found) < 500
    assert {plan.outcome for plan in found} == {
        "used", "given_back", "denied", "cancelled", "lapsed", "escalated", "revoked", "failed",
        "unscheduled", "left", "reviewed",
    }  # fmt: skip
    assert all(began_at < plan.at < until for plan in found)
    hours = Counter(7 <= plan.at.hour < 20 for plan in found)
    assert hours[True] > 3 * hours[False]


def test_one_request_of_the_past_and_one_of_today_were_handed_over(told: str) -> None:
    past, today = RequestHandover.objects.order_by("id")
    assert [row.taker_name for row in (past, today)] == ["Sofia Ricci", "Carol Adeyemi"]
    first = reads.decisions(past.request_id)[0]
    assert (first.actor_id, getattr(first, "for_whom", "")) == (past.taker_id, past.place_name)
    rows = Asked.objects.filter(request_id=today.request_id)
    asked = set(rows.values_list("person__username", flat=True))
    assert "carol" in asked
    assert "erin" not in asked


def test_somebody_tried_to_approve_their_own_today(told: str) -> None:
    attempt = RefusedAttempt.objects.get()
    assert (attempt.actor_name, attempt.action, attempt.code) == (
        "Tariq Hussain", "approve", "self_decision",
    )  # fmt: skip
    assert reads.decisions(attempt.request_id) == []
